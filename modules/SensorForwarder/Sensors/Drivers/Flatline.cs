namespace SensorForwarder.Sensors.Drivers;

/// <summary>Detects a noisy chip that no longer measures: its raw data stay identical for too long. Used by the bus's
/// thread only.</summary>
internal sealed class Flatline
{
    public const int Polls = 20;

    byte[] _last = [];
    int _same;

    /// <summary>Whether the data have been identical <see cref="Polls"/> times in a row.</summary>
    public bool IsFlat(byte[] raw)
    {
        _same = raw.AsSpan().SequenceEqual(_last) ? _same + 1 : 1;
        _last = raw;
        return _same >= Polls;
    }
}
