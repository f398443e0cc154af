"""The network, behind one port."""
