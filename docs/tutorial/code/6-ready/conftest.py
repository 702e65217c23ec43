import os

os.environ["CHAT_PASSWORD"] = "of the tests"
os.environ["CHAT_OPERATOR_PASSWORD"] = "of the tests' operator"
os.environ["CHAT_SECRET"] = "of the tests"
os.environ["CHAT_PAUSE"] = "0"
