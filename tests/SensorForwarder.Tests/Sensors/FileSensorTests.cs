using System.Diagnostics;
using System.Globalization;
using System.Text;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The sensor kind <c>file</c>: how it parses numbers, and which files it may read.</summary>
public sealed class FileSensorTests : IDisposable
{
    readonly SensorFixture _world = new();

    public FileSensorTests()
    {
        Directory.CreateDirectory(Path.Combine(_world.Root, "files"));
        _world.FileRoots = [Path.Combine(_world.Root, "files")];
    }

    public void Dispose() => _world.Dispose();

    string At(string path) => Path.Combine(_world.Root, path);

    Measurement Measure(string path, string options = "") =>
        _world.Measure("file", $"\"path\":\"{At(path)}\"{options}");

    Measurement MeasureContent(string content, string options = "")
    {
        _world.Write("files/level", content);
        return Measure("files/level", options);
    }

    void AssertOutside(string path)
    {
        var measurement = Measure(path);
        Assert.Equal((ReadingQuality.Bad, FaultReason.Denied), (measurement.Quality, measurement.Reason));
        Assert.StartsWith(
            $"the boot value Sensors__FileRoots does not allow {At(path)}: file sensors read only below ",
            measurement.Detail, StringComparison.Ordinal);
        Assert.Contains(_world.FileRoots[0], measurement.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("21,5")]
    [InlineData("21abc")]
    [InlineData("21_5")]
    [InlineData("0x15")]
    [InlineData("nan")]
    [InlineData("-NaN 5")]
    [InlineData("inf")]
    [InlineData("temp=Infinity humidity=40")]
    [InlineData("1e999")]
    [InlineData("1e")]
    [InlineData("1.2.3")]
    [InlineData("1'234.5")]
    [InlineData("1.234,56")]
    [InlineData("2026-11-24 21.5")]
    [InlineData("12:30:05 21.5")]
    [InlineData("0-3")]
    [InlineData("1/2")]
    [InlineData("--5")]
    [InlineData("--5 7")]
    [InlineData("- 5")]
    [InlineData("\u22125")]
    [InlineData("0x1.8 7", ",\"format\":\"hexadecimal\"")]
    [InlineData("12G 5", ",\"format\":\"hexadecimal\"")]
    [InlineData("-5 7", ",\"format\":\"hexadecimal\"")]
    [InlineData("11111111111111111 5", ",\"format\":\"hexadecimal\"")]
    [InlineData("-")]
    [InlineData("ff,5", ",\"format\":\"hexadecimal\"")]
    [InlineData("-ff", ",\"format\":\"hexadecimal\"")]
    [InlineData("b8:27:eb:12:34:56", ",\"format\":\"hexadecimal\"")]
    [InlineData("11111111111111111", ",\"format\":\"hexadecimal\"")]
    public void Content_without_a_well_formed_first_number_is_invalid(string content, string options = "")
    {
        var measurement = MeasureContent(content + "\n", options);
        Assert.Equal(FaultReason.Invalid, measurement.Reason);
        Assert.Empty(measurement.Values);
    }

    [Theory]
    [InlineData("  21.5\n", 21.5)]
    [InlineData("21.5 C", 21.5)]
    [InlineData("21.5'C", 21.5)]
    [InlineData("21.5\u00b0C", 21.5)]
    [InlineData("45%", 45)]
    [InlineData("\"45\"", 45)]
    [InlineData("{\"t\":-4.5,\"h\":40}", -4.5)]
    [InlineData("[7, 8]", 7)]
    [InlineData("temp1=45.2", 45.2)]
    [InlineData("sensor-1: 45.2", 45.2)]
    [InlineData("+.5e1.", 5)]
    [InlineData("0.52 0.58 0.59 1/389 12345", 0.52)]
    [InlineData("ADC: 0x3ff", 1023, ",\"format\":\"hexadecimal\"")]
    public void A_number_in_a_file_may_have_a_name_before_it_and_a_unit_after_it(string content, double number, string options = "") =>
        Assert.Equal(number, Assert.Single(MeasureContent(content, options).Values).Value);

    [Theory]
    [InlineData("")]
    [InlineData(" \n")]
    public void An_empty_file_is_a_failed_read(string content) =>
        Assert.Equal(FaultReason.Io, MeasureContent(content).Reason);

    [Fact]
    public void A_number_cut_off_at_the_read_limit_is_invalid()
    {
        Assert.Equal(FaultReason.Invalid, MeasureContent($"{new string(' ', 4094)}12345").Reason);
        Assert.Equal(12, Assert.Single(MeasureContent($"{new string(' ', 4093)}12 345").Values).Value);
    }

    [Fact]
    public void A_path_outside_the_allowed_directories_gets_the_same_answer_whether_it_exists_or_not()
    {
        _world.Write("secret/pin", "4711");
        _world.Write("secret/old", "4712");
        File.SetLastWriteTimeUtc(At("secret/old"), DateTime.UnixEpoch);
        _world.Write("secret/closed", "4713");
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(At("secret/closed"), UnixFileMode.None);
        _world.Write("files2/pin", "4714"); // Its path starts with the name of an allowed directory.
        foreach (var name in (string[])["pin", "none", "closed"])
            File.CreateSymbolicLink(At($"files/{name}"), $"../secret/{name}");
        File.CreateSymbolicLink(At("files/directory"), "../secret");
        File.CreateSymbolicLink(At("files/hop"), "pin");
        File.CreateSymbolicLink(At("files/loop"), "loop");
        File.CreateSymbolicLink(At("files/absolute"), At("secret/pin"));

        foreach (var path in (string[])[
            "secret/pin", "secret/old", "secret/closed", "secret/none", "secret", "none/none", "files2/pin",
            "files/pin", "files/none", "files/closed", "files/directory", "files/hop", "files/loop", "files/absolute",
            "files/directory/pin", "files/directory/none", "files/directory/none/none", "files/none/none",
            "files/directory/closed/x"])
        {
            AssertOutside(path);
            Assert.Equal(FaultReason.Denied, Measure(path, ",\"maxAgeSeconds\":60").Reason);
        }
    }

    [Fact]
    public void Inside_the_allowed_directories_a_missing_file_is_reported_as_absent()
    {
        Assert.Equal(FaultReason.Absent, Measure("files/none").Reason);
        Assert.Equal(FaultReason.Absent, Measure("files/none/none").Reason);
        _world.FileRoots = [At("none")];
        Assert.Equal(FaultReason.Absent, Measure("none/level").Reason);
    }

    [Fact]
    public void Symbolic_links_are_resolved_before_the_path_is_checked()
    {
        _world.Write("files/deep/level", "7");
        _world.Link("files/current", "deep");
        Assert.Equal(7, Assert.Single(Measure("files/current/level").Values).Value);
        _world.Link("alias", "files");
        _world.FileRoots = [At("alias")];
        Assert.Equal(7, Assert.Single(Measure("alias/current/level").Values).Value);
    }

    [Fact]
    public void A_path_with_two_dots_is_refused()
    {
        // After a symbolic link, ".." does not lead back to the directory before it.
        const string Hop = "/sys/class/net/lo/../../../../etc/passwd";
        var exception = Assert.Throws<SensorSettingsException>(
            () => _world.Create(SensorFixture.Settings("file", $"\"path\":\"{Hop}\"")));
        Assert.Equal($"path: '{Hop}' must not contain '..'", exception.Message);
    }

    [Fact]
    public async Task A_pipe_is_not_opened_and_keeps_its_content()
    {
        await MakePipeAsync(At("files/pipe"));
        await MakePipeAsync(At("pipe"));
        // Opening a pipe without a writer would block.
        Assert.Contains("only regular files", Measure("files/pipe").Detail, StringComparison.Ordinal);
        AssertOutside("pipe");
        await using var both = new FileStream(
            At("files/pipe"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        both.Write("42\n"u8);
        Assert.Equal(FaultReason.Denied, Measure("files/pipe").Reason);
        var content = new byte[3];
        both.ReadExactly(content);
        Assert.Equal("42\n", Encoding.ASCII.GetString(content));
    }

    [Fact]
    public void A_device_and_a_directory_are_not_read()
    {
        _world.FileRoots = ["/dev", _world.Root];
        foreach (var path in (string[])["/dev/zero", At("files")])
        {
            var measurement = Measure(path);
            Assert.Equal(FaultReason.Denied, measurement.Reason);
            Assert.Contains("only regular files", measurement.Detail, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("/proc")]
    [InlineData("/")]
    public void Files_in_proc_are_readable_except_those_of_processes_and_kmsg(string root)
    {
        _world.FileRoots = [root];
        _world.Link("files/self", "/proc/self");
        Assert.Equal(ReadingQuality.Good, Measure("/proc/uptime").Quality);
        var own = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        foreach (var path in (string[])[
            $"/proc/{own}/stat", "/proc/self/stat", "/proc/thread-self/stat", "/proc/self/root/proc/uptime",
            "/proc/999999999/stat", "/proc/net/dev", "/proc/kmsg"])
            AssertOutside(path);
        AssertOutside("files/self/stat");
    }

    [Fact]
    public void Process_files_are_also_refused_in_a_proc_mounted_elsewhere()
    {
        _world.FileRoots = [_world.Proc];
        _world.Write("proc/uptime", "12.5 3");
        _world.Write("proc/1/stat", "1 (init)");
        Assert.Equal(ReadingQuality.Good, Measure("proc/uptime").Quality);
        AssertOutside("proc/1/stat");
    }

    [Fact]
    public void The_default_directories_are_those_of_the_kernel_and_two_for_sensor_files()
    {
        Assert.Equal(["/sys", "/proc", "/run/sensors", "/data/files"], new SensorRoots("/proc", "/sys", "/data").Files);
        Assert.Equal(
            ["/sys", "/host/sys", "/proc", "/host/proc", "/run/sensors", "/data/files"],
            new SensorRoots("/host/proc", "/host/sys", "/data").Files);
    }

    static async Task MakePipeAsync(string path)
    {
        using var process = Process.Start("mkfifo", [path]);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
    }
}
