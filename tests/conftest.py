from hypothesis import settings

# The same examples in every run, and none remembered from earlier ones.
settings.register_profile("tests", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile("tests")
