using System.Device.I2c;
using System.Device.Spi;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The fault of one byte of a conversation with a chip.</summary>
public enum WireFault
{
    /// <summary>The chip loses power for a moment: from this byte on it answers as after a reset.</summary>
    Reset,

    /// <summary>One bit of a byte that the chip sends is flipped.</summary>
    BitInAnswer,

    /// <summary>One bit of a byte that the chip receives is flipped.</summary>
    BitInCommand,

    /// <summary>From this byte on the line is low until the measurement ends, and no error is reported.</summary>
    StuckLow,

    /// <summary>From this byte on the line is high until the measurement ends, and no error is reported.</summary>
    StuckHigh,
}

/// <summary>The wires between the module and one chip. Counts the bytes and applies a fault to one of them.</summary>
internal sealed class FaultyWire(SimulatedChip chip, int address)
{
    WireFault? _fault;
    int _at;
    int _bit;

    /// <summary>The number of bytes transferred, in both directions.</summary>
    public int Bytes { get; private set; }

    /// <summary>For each byte, whether the chip sent it.</summary>
    public List<bool> IsAnswer { get; } = [];

    public void Plan(WireFault fault, int at, int bit) => (_fault, _at, _bit) = (fault, at, bit);

    /// <summary>Releases a stuck line.</summary>
    public void Heal()
    {
        if (IsStuck) _fault = null;
    }

    public I2cDevice OpenI2c(int at) => new I2c(this, at);

    public SpiDevice OpenSpi(Func<byte[], byte[]> transfer) => new Spi(this, transfer);

    bool IsStuck => _fault is WireFault.StuckLow or WireFault.StuckHigh && Bytes > _at;

    byte Level => _fault == WireFault.StuckLow ? (byte)0 : (byte)0xFF;

    byte Pass(byte value, bool isAnswer)
    {
        var at = Bytes++;
        IsAnswer.Add(isAnswer);
        if (IsStuck) return Level;
        if (at != _at || _fault != (isAnswer ? WireFault.BitInAnswer : WireFault.BitInCommand)) return value;
        return (byte)(value ^ (1 << _bit));
    }

    void Transfer(int at, ReadOnlySpan<byte> write, Span<byte> read)
    {
        if (at != address)
        {
            // No chip has this address, but a low line looks like an acknowledgement.
            if (!IsStuck || _fault != WireFault.StuckLow) throw SimulatedI2cBus.Error(121, "Remote I/O error");
            read.Clear();
            return;
        }

        if (write.Length > 0)
        {
            ResetAt(write.Length);
            var sent = new byte[write.Length];
            for (var i = 0; i < sent.Length; i++) sent[i] = Pass(write[i], isAnswer: false);
            if (!IsStuck) chip.Write(sent);
        }

        if (read.Length == 0) return;
        var answer = new byte[read.Length];
        var isReset = _fault == WireFault.Reset && _at >= Bytes && _at < Bytes + read.Length;
        if (!IsStuck) chip.Read(answer);
        if (isReset)
        {
            var after = new byte[read.Length];
            chip.Reset();
            chip.Read(after);
            after.AsSpan(_at - Bytes).CopyTo(answer.AsSpan(_at - Bytes));
        }

        for (var i = 0; i < answer.Length; i++) read[i] = Pass(answer[i], isAnswer: true);
    }

    void ResetAt(int length)
    {
        if (_fault == WireFault.Reset && _at >= Bytes && _at < Bytes + length) chip.Reset();
    }

    sealed class I2c(FaultyWire wire, int address) : I2cDevice
    {
        public override I2cConnectionSettings ConnectionSettings { get; } = new(1, address);

        public override void Read(Span<byte> buffer) => wire.Transfer(address, [], buffer);

        public override void Write(ReadOnlySpan<byte> buffer) => wire.Transfer(address, buffer, []);

        public override void WriteRead(ReadOnlySpan<byte> writeBuffer, Span<byte> readBuffer) =>
            wire.Transfer(address, writeBuffer, readBuffer);
    }

    sealed class Spi(FaultyWire wire, Func<byte[], byte[]> transfer) : SpiDevice
    {
        public override SpiConnectionSettings ConnectionSettings { get; } = new(0);

        public override void Read(Span<byte> buffer) => TransferFullDuplex(new byte[buffer.Length], buffer);

        public override void Write(ReadOnlySpan<byte> buffer) => TransferFullDuplex(buffer, new byte[buffer.Length]);

        public override void TransferFullDuplex(ReadOnlySpan<byte> writeBuffer, Span<byte> readBuffer)
        {
            wire.ResetAt(writeBuffer.Length);
            var sent = new byte[writeBuffer.Length];
            for (var i = 0; i < sent.Length; i++) sent[i] = wire.Pass(writeBuffer[i], isAnswer: false);
            var answer = wire.IsStuck ? new byte[sent.Length] : transfer(sent);
            for (var i = 0; i < sent.Length; i++) readBuffer[i] = wire.Pass(answer[i], isAnswer: true);
        }
    }
}
