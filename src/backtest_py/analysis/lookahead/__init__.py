"""Look-ahead: whether a strategy's answers of a bar hang on bars that come later."""
