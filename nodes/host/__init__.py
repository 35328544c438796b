"""Everything that is peculiar to ComfyUI."""
