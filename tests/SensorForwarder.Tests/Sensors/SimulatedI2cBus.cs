using System.Device.I2c;
using System.Device.Spi;

namespace SensorForwarder.Tests.Sensors;

/// <summary>What goes wrong in one transfer.</summary>
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

/// <summary>A chip on a simulated bus. It answers what was written before, as real ones do.</summary>
internal abstract class SimulatedChip
{
    public abstract void Write(ReadOnlySpan<byte> bytes);

    public abstract void Read(Span<byte> bytes);

    public virtual void Reset()
    {
    }

    /// <summary>It does not acknowledge: it is busy.</summary>
    protected static IOException Nack() => SimulatedI2cBus.Error(121, "Remote I/O error");
}

/// <summary>A chip with registers of 8 or 16 bits and a pointer that counts up.</summary>
internal class RegisterChip(int registerBytes = 1) : SimulatedChip
{
    int _pointer;

    public Dictionary<int, byte[]> Words { get; } = [];

    public byte[] Bytes { get; } = new byte[256];

    /// <summary>Called with each register that is written.</summary>
    public Action<int, byte[]> Written { get; set; } = (_, _) => { };

    public override void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length == 0) return;
        _pointer = bytes[0];
        if (bytes.Length == 1) return;
        var value = bytes[1..].ToArray();
        if (registerBytes == 2) Words[_pointer] = value;
        else value.CopyTo(Bytes, _pointer);
        Written(_pointer, value);
    }

    public override void Read(Span<byte> bytes)
    {
        if (registerBytes == 2)
        {
            bytes.Clear();
            Words.GetValueOrDefault(_pointer, [0, 0]).CopyTo(bytes);
            return;
        }

        for (var i = 0; i < bytes.Length; i++) bytes[i] = Bytes[(_pointer + i) & 0xFF];
    }
}

/// <summary>A chip that answers to commands of bytes.</summary>
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

/// <summary>A bus of System.Device.Gpio in memory, on which everything can go wrong.</summary>
internal sealed class SimulatedI2cBus : I2cBus
{
    public Dictionary<int, SimulatedChip> Chips { get; } = [];

    /// <summary>The faults of the next transfers, in order; none when it is empty.</summary>
    public Queue<BusFault> Faults { get; } = new();

    /// <summary>The fault of every transfer.</summary>
    public BusFault Always { get; set; }

    /// <summary>Called in every transfer: a chip that stretches the clock blocks here.</summary>
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
        if (fault == BusFault.HalfTransfer) read[(read.Length / 2)..].Fill(0xFF); // nobody drives the line any more
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

/// <summary>A clock that moves on only when somebody waits, and then at once: what a driver waits for has passed.</summary>
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
