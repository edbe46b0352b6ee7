using EdgeSimulator.Display;

namespace EdgeSimulator.Accounting;

/// <summary>Validates every telemetry message against the <see cref="MessageSchemas"/>. A violation makes the run
/// fail. Thread-safe.</summary>
internal sealed class MessageCheck(RunLog log)
{
    const int ShownMax = 10;

    readonly MessageSchemas _schemas = new();
    readonly Lock _lock = new();
    readonly List<string> _shown = [];
    long _count;

    /// <summary>The number of messages that violate their schema.</summary>
    public long Count => Interlocked.Read(ref _count);

    /// <summary>The first ten violations.</summary>
    public IReadOnlyList<string> Shown
    {
        get
        {
            lock (_lock)
            {
                return [.. _shown];
            }
        }
    }

    /// <param name="body">The decompressed body.</param>
    /// <param name="origin">The origin of the message, for the log.</param>
    public void Check(ReadOnlyMemory<byte> body, string origin)
    {
        if (_schemas.Objection(body) is not { } objection)
        {
            return;
        }

        Interlocked.Increment(ref _count);
        var text = $"{origin}: {objection}";
        lock (_lock)
        {
            if (_shown.Count == ShownMax)
            {
                return;
            }

            _shown.Add(text);
        }

        log.Write($"message violates docs/schemas: {text}");
    }
}
