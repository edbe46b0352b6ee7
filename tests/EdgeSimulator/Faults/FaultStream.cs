using System.Threading.Channels;

namespace EdgeSimulator.Faults;

/// <summary>
/// The wire below TLS, with its faults: latency on what is written, bandwidth on what is read, and silence for ever once the
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

        // A slow link hands over no more than a tenth of a second's worth at once.
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

        // Once delayed, always through the pump: the order of bytes must hold when the latency goes back to 0.
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
            // The connection is gone; the reader sees it too.
        }
    }
}
