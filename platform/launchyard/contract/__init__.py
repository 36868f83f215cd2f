"""What the parts of a kind promise each other and the platform; :class:`launchyard.kind.Kind` names them."""
