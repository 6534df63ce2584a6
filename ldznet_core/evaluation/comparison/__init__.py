"""Ways to masks measured alike: their thresholds, figures and costs, and what is chance in them."""
