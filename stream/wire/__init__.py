"""The wire format and its two ends: messages, addresses and keys, the publisher and the subscriber."""
