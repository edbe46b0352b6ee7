using System.Device.I2c;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Bindings;

/// <summary>How a port protects the reads of a binding against bit errors.</summary>
internal enum BoundReads
{
    /// <summary>Repeats a read until two consecutive answers are equal: the chip has no checksum.</summary>
    Twice,

    /// <summary>Reads once and verifies the SMBus checksum that follows the data.</summary>
    Checked,

    /// <summary>Reads once: the binding verifies the checksum.</summary>
    Once,
}

/// <summary>
/// The I2C device given to a binding, backed by our <see cref="I2cPort"/> and its fault reasons. A register number is
/// sent together with the read that follows, even if the binding makes two calls, so that both can be repeated.
/// Disposing it has no effect: the sensor owns the port.
/// </summary>
/// <param name="reads">How answers are read.</param>
/// <param name="registerBytes">Length of a register number.</param>
internal sealed class BoundPort(I2cPort port, BoundConversation conversation, BoundReads reads, int registerBytes = 1)
    : I2cDevice
{
    byte[] _register = [];

    public override I2cConnectionSettings ConnectionSettings { get; } = new(port.Bus, port.Address);

    public TimeProvider TimeProvider => port.TimeProvider;

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        _register = [];
        if (reads != BoundReads.Once && buffer.Length == registerBytes)
        {
            _register = buffer.ToArray(); // sent with the read that follows
            return;
        }

        try
        {
            conversation.CheckDeadline();
            port.Write(buffer);
        }
        catch (SensorFault fault)
        {
            // A single byte wakes a sleeping chip, which does not acknowledge it.
            if (buffer.Length == 1 && fault.Reason == FaultReason.Io) return;
            conversation.Note(fault);
            throw;
        }
    }

    public override void Read(Span<byte> buffer) => WriteRead(_register, buffer);

    public override void WriteRead(ReadOnlySpan<byte> writeBuffer, Span<byte> readBuffer)
    {
        try
        {
            conversation.CheckDeadline();
            var answer = reads switch
            {
                BoundReads.Twice => port.ReadTwice(writeBuffer, readBuffer.Length),
                BoundReads.Checked => ReadChecked(writeBuffer, readBuffer.Length),
                _ when writeBuffer.Length == 0 => port.Read(readBuffer.Length),
                _ => port.WriteRead(writeBuffer, readBuffer.Length),
            };
            answer.AsSpan(0, readBuffer.Length).CopyTo(readBuffer);
        }
        catch (SensorFault fault)
        {
            conversation.Note(fault);
            throw;
        }
    }

    /// <summary>Expects a register to keep this value unless the chip is reset.</summary>
    public void Expect(int register, int value, int mask = 0xFF) =>
        conversation.Expect(() => (Register(register) & mask) == value);

    /// <summary>A register of one byte.</summary>
    public int Register(int register) => Registers(register, 1)[0];

    public byte[] Registers(int first, int length)
    {
        var bytes = new byte[length];
        WriteRead(registerBytes == 1 ? [(byte)first] : [(byte)(first >> 8), (byte)first], bytes);
        return bytes;
    }

    public void Pause(double milliseconds, CancellationToken cancellationToken) =>
        port.Pause(milliseconds, cancellationToken);

    byte[] ReadChecked(ReadOnlySpan<byte> write, int length)
    {
        var answer = port.WriteRead(write, length + 1);
        byte[] all = [(byte)(port.Address << 1), .. write, (byte)((port.Address << 1) | 1), .. answer];
        return Crc8.SmBus(all.AsSpan(..^1)) == all[^1]
            ? answer
            : throw new SensorFault(FaultReason.Crc, "the checksum does not match: noise on the wires?");
    }
}
