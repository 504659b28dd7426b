"""The rows of the table of algorithms on any causal language model of Hugging Face; needs the extra ``finetune``."""

import warnings

with warnings.catch_warnings():  # the libraries below import this; without widgets it would write into a page
    warnings.filterwarnings("ignore", message="IProgress not found")
    import tqdm.auto  # noqa: F401
