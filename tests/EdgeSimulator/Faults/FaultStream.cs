using System.Threading.Channels;

namespace EdgeSimulator.Faults;

/// <summary>
/// The TCP stream below TLS with faults: delays writes, limits the rate of reads, and stays silent permanently once the
/// connection was half-open. One reader and one writer at a time, as SslStream uses it.
/// </summary>
internal sealed class FaultStream(Stream inner, FaultSwitches faults, TimeProvider time) : Stream
{
    readonly Channel<(long Due, byte[] Bytes)> _delayed = Channel.CreateUnbounded<(long, byte[])>();
    readonly CancellationTokenSource _closed = new();
    Task? _pump;
    bool _silent;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var bandwidth = faults.Current.BandwidthBytesPerSecond;

        // Limited to the bytes of a tenth of a second, for a steady rate.
        var slice = bandwidth > 0 ? buffer[..Math.Min(buffer.Length, Math.Max(1, bandwidth / 10))] : buffer;
        var read = await inner.ReadAsync(slice, cancellationToken).ConfigureAwait(false);
        if (IsSilent)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, time, _closed.Token).ConfigureAwait(false);
        }

        if (bandwidth > 0 && read > 0)
        {
            await Task.Delay(TimeSpan.FromSeconds((double)read / bandwidth), time, cancellationToken).ConfigureAwait(false);
        }

        return read;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (IsSilent)
        {
            return;
        }

        var latency = faults.Current.LatencyMilliseconds;
        if (latency == 0 && _pump is null)
        {
            await inner.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
            return;
        }

        // After the first delay all writes use the pump, so that bytes stay in order when the latency returns to 0.
        _pump ??= PumpAsync();
        var due = time.GetTimestamp() + (latency * time.TimestampFrequency / 1000);
        await _delayed.Writer.WriteAsync((due, buffer.ToArray()), cancellationToken).ConfigureAwait(false);
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush() => inner.Flush();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _closed.Cancel();
            _delayed.Writer.TryComplete();
            inner.Dispose();
        }

        base.Dispose(disposing);
    }

    bool IsSilent => _silent |= faults.Current.HalfOpen;

    async Task PumpAsync()
    {
        try
        {
            await foreach (var (due, bytes) in _delayed.Reader.ReadAllAsync(_closed.Token).ConfigureAwait(false))
            {
                var wait = time.GetElapsedTime(time.GetTimestamp(), due);
                if (wait > TimeSpan.Zero)
                {
                    await Task.Delay(wait, time, _closed.Token).ConfigureAwait(false);
                }

                await inner.WriteAsync(bytes, _closed.Token).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException or ObjectDisposedException)
        {
            // The connection has ended; the reader handles that.
        }
    }
}
