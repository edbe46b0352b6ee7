using SensorForwarder.Operations;
using SensorForwarder.Operations.Status;

namespace SensorForwarder.Tests.Operations;

/// <summary>Bytes written to flash memory, computed from kernel files that the test writes.</summary>
public sealed class FlashWritesTests : IDisposable
{
    const string Root = "20 1 179:2 / / rw,noatime - ext4 /dev/root rw\n21 20 0:5 / /proc rw - proc proc rw\n";
    const string Volume = "40 20 8:1 / /data rw,noatime shared:3 - ext4 /dev/sda1 rw\n";

    readonly string _root = Directory.CreateTempSubdirectory("flash-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData(Root + Volume, "/data/buffer", 1_000 * 512L)]
    [InlineData(Root + Volume, "/data", 1_000 * 512L)]
    [InlineData(Root + Volume, "/database", 4_096)] // on the root file system, which others write too
    [InlineData(Root + "40 20 8:1 /volumes/x /data rw - ext4 /dev/sda1 rw\n", "/data", 4_096)] // a part of a file system
    [InlineData(Root + Volume + "41 20 8:1 / /var rw - ext4 /dev/sda1 rw\n", "/data", 4_096)] // mounted elsewhere too
    [InlineData(Root + "40 20 0:44 / /data rw - tmpfs tmpfs rw\n", "/data", 4_096)] // no block device
    [InlineData("", "/data", 4_096)]
    [InlineData("nonsense\n\n", "/data", 4_096)]
    public void Writes_are_counted_per_device_for_a_dedicated_volume_and_per_process_otherwise(
        string mounts, string directory, long expected)
    {
        Write("proc/self/mountinfo", mounts);
        Write("proc/self/io", "rchar: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n");
        Write("sys/dev/block/8:1/stat", "  11 0 22 0 33 0 5000 0 0 0 0\n");
        var writes = new FlashWrites(directory, _root);
        Write("sys/dev/block/8:1/stat", "  11 0 22 0 34 0 6000 0 0 0 0\n");
        Assert.Equal(expected, writes.WrittenBytes());
        Assert.Equal(expected * 2, FlashWrites.PerYear(writes.WrittenBytes(), TimeSpan.FromDays(365.25 / 2)));
    }

    [Fact]
    public void Written_bytes_are_unknown_where_the_kernel_does_not_report_them()
    {
        Assert.Null(new FlashWrites("/data", _root).WrittenBytes());
        Assert.Equal(0, FlashWrites.PerYear(null, TimeSpan.FromDays(1)));
    }

    void Write(string name, string text)
    {
        var path = Path.Combine(_root, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }
}
