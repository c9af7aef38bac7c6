"""Programs that serve a model, each scoring what it serves: token ids in, nats per token out."""
