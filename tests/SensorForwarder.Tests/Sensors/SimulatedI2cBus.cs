using System.Device.I2c;
using System.Device.Spi;

namespace SensorForwarder.Tests.Sensors;

/// <summary>A fault of one transfer.</summary>
public enum BusFault
{
    None,
    Nack,
    TimedOut,
    ArbitrationLost,
    FlippedBit,
    HalfTransfer,
    ChipReset,
}

/// <summary>A chip on a simulated bus. A read depends on the preceding writes, as with real chips.</summary>
internal abstract class SimulatedChip
{
    public abstract void Write(ReadOnlySpan<byte> bytes);

    public abstract void Read(Span<byte> bytes);

    public virtual void Reset()
    {
    }

    /// <summary>The error of a busy chip that does not acknowledge.</summary>
    protected static IOException Nack() => SimulatedI2cBus.Error(121, "Remote I/O error");
}

/// <summary>A chip with registers of 8 or 16 bits and an auto-incrementing pointer.</summary>
internal class RegisterChip(int registerBytes = 1) : SimulatedChip
{
    /// <summary>The register that is read next.</summary>
    public int Pointer { get; private set; }

    public Dictionary<int, byte[]> Words { get; } = [];

    public byte[] Bytes { get; } = new byte[256];

    /// <summary>Called after each write, with the register and its value.</summary>
    public Action<int, byte[]> Written { get; set; } = (_, _) => { };

    public override void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length == 0) return;
        Pointer = bytes[0];
        if (bytes.Length == 1) return;
        var value = bytes[1..].ToArray();
        if (registerBytes == 2) Words[Pointer] = value;
        else value.CopyTo(Bytes, Pointer);
        Written(Pointer, value);
    }

    public override void Read(Span<byte> bytes)
    {
        if (registerBytes == 2)
        {
            bytes.Clear();
            Words.GetValueOrDefault(Pointer, [0, 0]).AsSpan(0, Math.Min(2, bytes.Length)).CopyTo(bytes);
            return;
        }

        for (var i = 0; i < bytes.Length; i++) bytes[i] = Bytes[(Pointer + i) & 0xFF];
    }
}

/// <summary>A chip that responds to commands.</summary>
internal sealed class CommandChip(Func<byte[], byte[]?> answer) : SimulatedChip
{
    byte[]? _answer;

    public List<string> Commands { get; } = [];

    public Func<bool> IsReady { get; set; } = () => true;

    public override void Write(ReadOnlySpan<byte> bytes)
    {
        Commands.Add(Convert.ToHexString(bytes));
        _answer = answer(bytes.ToArray());
    }

    public override void Read(Span<byte> bytes)
    {
        if (_answer is null || !IsReady()) throw Nack();
        bytes.Fill(0xFF);
        _answer.AsSpan(0, Math.Min(_answer.Length, bytes.Length)).CopyTo(bytes);
    }
}

/// <summary>An I2C bus of System.Device.Gpio in memory, with faults.</summary>
internal sealed class SimulatedI2cBus : I2cBus
{
    public Dictionary<int, SimulatedChip> Chips { get; } = [];

    /// <summary>The faults of the next transfers, in order. When empty, <see cref="Always"/> applies.</summary>
    public Queue<BusFault> Faults { get; } = new();

    /// <summary>The fault of all transfers without an entry in <see cref="Faults"/>.</summary>
    public BusFault Always { get; set; }

    /// <summary>Called in every transfer; blocks to simulate clock stretching.</summary>
    public Action Stretch { get; set; } = () => { };

    public int Transfers { get; private set; }

    public int Opened { get; private set; }

    public static IOException Error(int number, string text) => new($"Error {number} ({text}) performing I2C data transfer.");

    public override I2cDevice CreateDevice(int deviceAddress)
    {
        Opened++;
        return new Device(this, deviceAddress);
    }

    public override void RemoveDevice(int deviceAddress)
    {
    }

    void Transfer(int address, ReadOnlySpan<byte> write, Span<byte> read)
    {
        Transfers++;
        Stretch();
        var fault = Faults.Count > 0 ? Faults.Dequeue() : Always;
        switch (fault)
        {
            case BusFault.Nack:
                throw Error(121, "Remote I/O error");
            case BusFault.TimedOut:
                throw Error(110, "Connection timed out");
            case BusFault.ArbitrationLost:
                throw Error(11, "Resource temporarily unavailable");
            default:
                break;
        }

        if (!Chips.TryGetValue(address, out var chip)) throw Error(121, "Remote I/O error");
        if (fault == BusFault.ChipReset) chip.Reset();
        if (write.Length > 0) chip.Write(write);
        if (read.Length == 0) return;
        chip.Read(read);
        if (fault == BusFault.FlippedBit) read[read.Length / 2] ^= 0x10;
        if (fault == BusFault.HalfTransfer) read[(read.Length / 2)..].Fill(0xFF); // The line is no longer driven.
    }

    sealed class Device(SimulatedI2cBus bus, int address) : I2cDevice
    {
        public override I2cConnectionSettings ConnectionSettings { get; } = new(1, address);

        public override void Read(Span<byte> buffer) => bus.Transfer(address, [], buffer);

        public override void Write(ReadOnlySpan<byte> buffer) => bus.Transfer(address, buffer, []);

        public override void WriteRead(ReadOnlySpan<byte> writeBuffer, Span<byte> readBuffer) => bus.Transfer(address, writeBuffer, readBuffer);
    }
}

/// <summary>A device on a simulated SPI bus.</summary>
internal sealed class SimulatedSpiDevice(Func<byte[], byte[]> transfer) : SpiDevice
{
    public override SpiConnectionSettings ConnectionSettings { get; } = new(0);

    public override void Read(Span<byte> buffer) => transfer(new byte[buffer.Length]).CopyTo(buffer);

    public override void Write(ReadOnlySpan<byte> buffer) => transfer(buffer.ToArray());

    public override void TransferFullDuplex(ReadOnlySpan<byte> writeBuffer, Span<byte> readBuffer) =>
        transfer(writeBuffer.ToArray()).CopyTo(readBuffer);
}

/// <summary>A clock that advances only when a timer is created, and then at once, so that every wait of a driver is
/// over immediately.</summary>
internal sealed class WaitingClock : TimeProvider
{
    long _ticks = new DateTimeOffset(2026, 11, 24, 12, 0, 0, TimeSpan.Zero).Ticks;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Read(ref _ticks);

    public override DateTimeOffset GetUtcNow() => new(GetTimestamp(), TimeSpan.Zero);

    public void Advance(TimeSpan time) => Interlocked.Add(ref _ticks, time.Ticks);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        Advance(dueTime);
        return TimeProvider.System.CreateTimer(callback, state, TimeSpan.Zero, Timeout.InfiniteTimeSpan);
    }
}
