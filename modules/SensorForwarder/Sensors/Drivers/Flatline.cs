namespace SensorForwarder.Sensors.Drivers;

/// <summary>Notices raw data of a noisy chip that is bit for bit the same for too long:
/// it no longer measures.</summary>
internal sealed class Flatline
{
    public const int Polls = 20;

    byte[] _last = [];
    int _same;

    /// <summary>Whether these data have now come <see cref="Polls"/> times in a row.</summary>
    public bool IsFlat(byte[] raw)
    {
        _same = raw.AsSpan().SequenceEqual(_last) ? _same + 1 : 1;
        _last = raw;
        return _same >= Polls;
    }
}
