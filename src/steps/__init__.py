"""How training steps are computed: several in one step of Lightning, with fused gradients and chosen threads."""
