"""Device traffic: receive → throttle → admit → batch → rules → one transaction → publish → acknowledge to the broker.

link.py      the one file that knows the MQTT library; hands over what arrives, acknowledges by hand
budgets.py   how many messages one device may have taken, by kind
throttle.py  puts off or drops what is over its budget, so that one device delays no other
intake.py    admits what is a message of the protocol, counts and drops the rest
traffic.py   what a batch of messages changes and answers, by the rules
pipeline.py  the thread that makes batches, commits them, and only then answers and acknowledges
"""
