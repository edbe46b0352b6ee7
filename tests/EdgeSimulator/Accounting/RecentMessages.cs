namespace EdgeSimulator.Accounting;

/// <summary>A telemetry message as it arrived. Road is mqtt or http.</summary>
internal sealed record TelemetryMessage(
    long Number, DateTimeOffset Arrived, string Road, string Device, string Module, IReadOnlyDictionary<string, string?> Properties,
    byte[] Body);

/// <summary>The newest messages for GET /messages, limited in number and bytes. Thread-safe.</summary>
internal sealed class RecentMessages(TimeProvider time)
{
    const int CountMax = 1000;
    const int BytesMax = 8 * 1024 * 1024;

    readonly Lock _lock = new();
    readonly Queue<TelemetryMessage> _messages = new();
    long _number;
    long _bytes;

    public void Add(
        string road, string device, string module, IReadOnlyDictionary<string, string?> properties, byte[] body)
    {
        lock (_lock)
        {
            _messages.Enqueue(new TelemetryMessage(++_number, time.GetUtcNow(), road, device, module, properties, body));
            _bytes += body.Length;
            while (_messages.Count > CountMax || (_bytes > BytesMax && _messages.Count > 1))
            {
                _bytes -= _messages.Dequeue().Body.Length;
            }
        }
    }

    /// <summary>The messages with a number above <paramref name="number"/>, oldest first.</summary>
    public IReadOnlyList<TelemetryMessage> After(long number)
    {
        lock (_lock)
        {
            return _messages.Where(message => message.Number > number).ToList();
        }
    }
}
