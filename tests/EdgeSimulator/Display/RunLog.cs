namespace EdgeSimulator.Display;

/// <summary>What happens, as lines for whoever looks. Thread-safe; the listener must be quick.</summary>
internal sealed class RunLog(TimeProvider time)
{
    readonly long _start = time.GetTimestamp();

    /// <summary>Something that the simulator did or saw.</summary>
    public event Action<TimeSpan, string>? Written;

    /// <summary>A line that the module wrote.</summary>
    public event Action<string>? ModuleWrote;

    public TimeSpan Elapsed => time.GetElapsedTime(_start);

    public void Write(string text) => Written?.Invoke(Elapsed, text);

    public void WriteModuleLine(string line) => ModuleWrote?.Invoke(line);
}
