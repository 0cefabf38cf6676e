"""safetensors files: named tensors behind a header that is checked, each readable without the rest."""
