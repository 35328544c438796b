"""What the demo model reads: facts of a portrait, captions that tell them, the vocabulary, the encoder of prompts."""
