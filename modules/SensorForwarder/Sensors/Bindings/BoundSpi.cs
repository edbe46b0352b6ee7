using System.Device.Spi;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Bindings;

/// <summary>The SPI device given to a binding, backed by our <see cref="SpiPort"/> and its fault reasons. Reads are
/// repeated until two consecutive answers are equal: SPI has neither an acknowledgement nor a checksum.</summary>
/// <param name="isRead">Whether a transfer with this first byte only reads.</param>
internal sealed class BoundSpi(SpiPort port, BoundConversation conversation, Func<byte, bool> isRead) : SpiDevice
{
    public override SpiConnectionSettings ConnectionSettings { get; } = new(0);

    public override void Read(Span<byte> buffer) => TransferFullDuplex(new byte[buffer.Length], buffer);

    public override void Write(ReadOnlySpan<byte> buffer) => TransferFullDuplex(buffer, new byte[buffer.Length]);

    public override void TransferFullDuplex(ReadOnlySpan<byte> writeBuffer, Span<byte> readBuffer)
    {
        try
        {
            conversation.CheckDeadline();
            var answer = writeBuffer.Length > 1 && isRead(writeBuffer[0])
                ? port.TransferTwice(writeBuffer)
                : port.Transfer(writeBuffer);
            answer.CopyTo(readBuffer);
        }
        catch (SensorFault fault)
        {
            conversation.Note(fault);
            throw;
        }
    }

    /// <summary>Reads registers.</summary>
    /// <param name="command">The first byte: the number of the first register, with the read bits.</param>
    /// <param name="length">The number of registers.</param>
    public byte[] Registers(byte command, int length)
    {
        var answer = new byte[length + 1];
        TransferFullDuplex([command, .. new byte[length]], answer);
        return answer[1..];
    }

    public void Pause(double milliseconds, CancellationToken cancellationToken) =>
        port.TimeProvider.Pause(TimeSpan.FromMilliseconds(milliseconds), cancellationToken);

    /// <summary>Expects registers to keep these values unless the chip is reset.</summary>
    public void Expect(byte command, params byte[] values) =>
        conversation.Expect(() => Registers(command, values.Length).AsSpan().SequenceEqual(values));
}
