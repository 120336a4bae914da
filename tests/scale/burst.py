# SPDX-License-Identifier: LGPL-2.1-or-later
"""A burst of casts to many novasnapds."""
import collections
import concurrent.futures
import json
import time
import uuid

import amqp
from kombu.exceptions import OperationalError

from paths import CAST

PUBLISHERS = 8


def make_casts(fleet, count):
    """Returns casts for servers that nobody knows: the id, the key and the body of each."""
    with open(CAST) as file:
        message = json.load(file)
    casts = []
    for number in range(count):
        message["args"]["instance"]["nova_object.data"]["uuid"] = str(uuid.uuid4())
        message["args"]["image_id"] = str(uuid.uuid4())
        message["_unique_id"] = uuid.uuid4().hex
        agent = fleet.agents[number % len(fleet.agents)]
        casts.append((message["_unique_id"], f"compute.{agent.host}", json.dumps(message)))
    return casts


def publish(brokers, casts):
    """Publishes casts, as a worker of nova-api does: what a broker has not confirmed is published again, at the next broker
    if need be."""
    waiting, number = collections.deque(casts), 0
    while waiting:
        number += 1
        try:
            with brokers[number % len(brokers)].connection(confirm_publish=True) as connection:
                producer = connection.Producer()
                while waiting:
                    producer.publish(waiting[0][2], exchange="nova", routing_key=waiting[0][1],
                                     content_type="application/json", content_encoding="utf-8")
                    waiting.popleft()
        except (OSError, *amqp.Connection.recoverable_connection_errors, amqp.AMQPError, OperationalError):
            time.sleep(0.5)


def send_burst(brokers, fleet, count, half=lambda: None):
    """Sends casts as fast as the brokers take them from several publishers. `half` is called when half of them are sent.
    The first broker stays. Returns the figures."""
    casts = make_casts(fleet, count)
    began = time.time()
    with concurrent.futures.ThreadPoolExecutor(PUBLISHERS) as pool:
        for first, last, meanwhile in ((0, count // 2, lambda: None), (count // 2, count, half)):
            sending = [pool.submit(publish, brokers, casts[first + number:last:PUBLISHERS])
                       for number in range(PUBLISHERS)]
            meanwhile()
            for each in sending:
                each.result()
    published = time.time() - began
    own = [f"compute.{agent.host}" for agent in fleet.agents]
    while True:
        held = dict(line.split("\t") for line in
                    brokers[0].ctl("list_queues", "--no-table-headers", "name", "messages").splitlines())
        if not sum(int(held[name]) for name in own):
            break
        if time.time() - began > 1800:
            raise RuntimeError("the queues are not empty after 1800 s")
        time.sleep(1)
    acked = time.time() - began
    sent, ids = {each[0] for each in casts}, fleet.journaled()
    while fleet.open_jobs():
        if time.time() - began > 3600:
            raise RuntimeError("the jobs have not ended after 3600 s")
        time.sleep(5)
    ours = [each for each in ids if each in sent]
    return {"casts": count, "published_s": round(published, 1), "acked_s": round(acked, 1),
            "ended_s": round(time.time() - began, 1), "lost": len(sent - set(ours)),
            "twice": len(ours) - len(set(ours))}
