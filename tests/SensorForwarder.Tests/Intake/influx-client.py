"""Writes with Debian's python3-influxdb as its users do.

influx-client.py PORT [PASSWORD]
Prints one line per call: what it was and "ok", or the error that the library raises.
"""
import sys

from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError

client = InfluxDBClient("127.0.0.1", int(sys.argv[1]), "pi", *sys.argv[2:3], database="home", retries=1)
zipping = InfluxDBClient("127.0.0.1", int(sys.argv[1]), "pi", *sys.argv[2:3], database="home", gzip=True, retries=1)


def point(sensor, celsius, **more):
    return {"measurement": "weather", "tags": {"place": sensor}, "fields": {"celsius": celsius, "n": 3, "ok": True, "text": 'a "b"'}, **more}


def say(name, call):
    try:
        call()
        print(f"{name}: ok")
    except InfluxDBClientError as error:
        print(f"{name}: {error}")


say("ping", client.ping)
say("create database", lambda: client.create_database("home"))
say("points", lambda: client.write_points([point("attic", 21.5), point("hall", 19)]))
say("with time", lambda: client.write_points([point("roof", -3.25, time="2026-11-24T14:20:31Z")]))
say("seconds", lambda: client.write_points([point("well", 8.0, time=1764000000)], time_precision="s"))
say("gzip", lambda: zipping.write_points([point("shed", float(i)) for i in range(1000)], batch_size=400))
say("lines", lambda: client.write_points(["door,place=back open=1i"], protocol="line"))
say("broken", lambda: client.write_points(["door,place=back"], protocol="line"))
say("query", lambda: client.query("SELECT * FROM weather"))
