"""A Modbus server of pymodbus with known registers. Prints "ready" when it listens.

    modbus-server.py tcp PORT
    modbus-server.py rtu PATH
"""

import asyncio
import logging
import struct
import sys

from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.server import async_io
from pymodbus.transaction import ModbusRtuFramer, ModbusSocketFramer


def registers(first, data):
    return {first + i: struct.unpack(">H", data[2 * i : 2 * i + 2])[0] for i in range(len(data) // 2)}


def unit(volts):
    holding = {
        **registers(0, struct.pack(">h", -1234)),
        **registers(1, struct.pack(">I", 3000000000)),
        **registers(10, struct.pack(">d", -0.000125)),
        **registers(100, struct.pack("<f", 51.5)),  # least significant byte first
        **registers(40001, struct.pack(">q", -5000000000)),
    }
    inputs = registers(0, struct.pack(">f", volts))
    return ModbusSlaveContext(
        di=ModbusSparseDataBlock({i: i % 3 == 0 for i in range(2100)}),
        co=ModbusSparseDataBlock({i: i == 7 for i in range(16)}),
        hr=ModbusSparseDataBlock(holding),
        ir=ModbusSparseDataBlock(inputs),
        zero_mode=True,
    )


async def main(mode, place):
    context = ModbusServerContext(slaves={1: unit(230.1), 17: unit(119.5)}, single=False)
    if mode == "tcp":
        server = async_io.ModbusTcpServer(context, framer=ModbusSocketFramer, address=("127.0.0.1", int(place)))
    else:
        server = async_io.ModbusSerialServer(
            context, framer=ModbusRtuFramer, port=place, baudrate=19200, timeout=0.005
        )
        await server.start()
    serving = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    print("ready", flush=True)
    await serving


logging.disable()
asyncio.run(main(sys.argv[1], sys.argv[2]))
