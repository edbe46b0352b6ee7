namespace SensorForwarder;

/// <summary>
/// Keeps a repeating failure from filling the log: the first of a kind is let through, then one every
/// <see cref="RepeatEvery"/> with the number of those held back. One instance a source of failures; not thread-safe.
/// </summary>
internal sealed class LogThrottle(TimeProvider timeProvider)
{
    public static readonly TimeSpan RepeatEvery = TimeSpan.FromMinutes(5);

    string? _last;
    long _lastLogged;
    int _heldBack;

    /// <summary>Whether to log <paramref name="message"/> now, and how many equal ones were held back since the last
    /// time.</summary>
    public bool ShouldLog(string message, out int heldBack)
    {
        heldBack = _heldBack;
        if (message == _last && timeProvider.GetElapsedTime(_lastLogged) < RepeatEvery)
        {
            _heldBack++;
            return false;
        }

        _last = message;
        _lastLogged = timeProvider.GetTimestamp();
        _heldBack = 0;
        return true;
    }

    /// <summary>The end of a log line that says how many were held back; empty when none were.</summary>
    public static string Note(int heldBack) => heldBack == 0 ? "" : $" ({heldBack} equal lines were held back)";

    /// <summary>All is well again: the next failure is a new one.</summary>
    public void Reset()
    {
        _last = null;
        _heldBack = 0;
    }
}
