"""Figures and ratios of this code on this machine. Never tests: a figure that must hold is a test elsewhere."""
