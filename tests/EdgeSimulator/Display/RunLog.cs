namespace EdgeSimulator.Display;

/// <summary>Passes events and the module's output to the display. Thread-safe. Handlers run on the writer's thread and
/// must not block.</summary>
internal sealed class RunLog(TimeProvider time)
{
    readonly long _start = time.GetTimestamp();

    /// <summary>An event of the simulator, with the time since the start of the run.</summary>
    public event Action<TimeSpan, string>? Written;

    /// <summary>A line of the module's output.</summary>
    public event Action<string>? ModuleWrote;

    public TimeSpan Elapsed => time.GetElapsedTime(_start);

    public void Write(string text) => Written?.Invoke(Elapsed, text);

    public void WriteModuleLine(string line) => ModuleWrote?.Invoke(line);
}
