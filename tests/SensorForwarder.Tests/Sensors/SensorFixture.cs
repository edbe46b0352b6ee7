using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Sensors;

/// <summary>A /proc and /sys of the test's own.</summary>
internal sealed class SensorFixture : IDisposable
{
    public SensorFixture()
    {
        Directory.CreateDirectory(Proc);
        Directory.CreateDirectory(Sysfs);
    }

    public string Root { get; } = Directory.CreateTempSubdirectory("sensors-").FullName;

    public string Proc => Path.Combine(Root, "proc");

    public string Sysfs => Path.Combine(Root, "sys");

    public FakeTimeProvider Clock { get; } = new(BufferFixture.Noon);

    public SensorRoots Roots => new(Proc, Sysfs, Root);

    public SensorFactory Factory => new(Roots, Clock);

    public void Write(string path, string content)
    {
        var file = Path.Combine(Root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
