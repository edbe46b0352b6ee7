namespace SensorForwarder.Operations.CommandLine;

/// <summary>Shows progress in one line of standard error; shows nothing if that is not a terminal.</summary>
/// <param name="total">The expected total; it may be exceeded.</param>
internal sealed class ProgressBar(long total)
{
    const int Width = 40;
    readonly bool _isShown = !Console.IsErrorRedirected;
    int _shown = -1;

    public void Show(long done)
    {
        var percent = (int)(100 * Math.Min(done, total) / Math.Max(1, total));
        if (!_isShown || percent == _shown) return;
        _shown = percent;
        var filled = percent * Width / 100;
        Console.Error.Write($"\r[{new string('#', filled)}{new string('.', Width - filled)}] {percent,3} % {done}");
    }

    public void End()
    {
        if (_isShown && _shown >= 0) Console.Error.Write($"\r{new string(' ', Width + 30)}\r");
    }
}
