"""The rows of the table of algorithms on any causal language model of Hugging Face; needs the extra ``finetune``."""
