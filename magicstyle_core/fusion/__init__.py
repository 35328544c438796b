"""What self-attention reads while a picture is sampled: rules on stored features, and how their attentions run."""
