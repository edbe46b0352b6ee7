using System.Diagnostics;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

public sealed class SettingsFileTests : IAsyncLifetime
{
    readonly FakeTimeProvider _clock = new();
    readonly SettingsFixture _parts = new();
    readonly LogLines _log = new();
    readonly string _directory = Directory.CreateTempSubdirectory("settings-").FullName;
    SettingsFile? _file;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string FilePath => Path.Combine(_directory, "settings.json");

    int BatchSize => _parts.Store.Current!.Settings.Forwarding.BatchSize;

    public async ValueTask InitializeAsync() => await _parts.StartAsync();

    public async ValueTask DisposeAsync()
    {
        if (_file is not null) await _file.StopAsync(CancellationToken.None);
        _file?.Dispose();
        await _parts.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    async Task StartAsync()
    {
        var boot = BootOptions.Read(new ConfigurationBuilder()
            .AddInMemoryCollection([KeyValuePair.Create("Settings:File", (string?)FilePath)]).Build());
        _file = new(boot, _parts.Store, _clock, _log.For<SettingsFile>());
        await _file.StartAsync(Token);
    }

    Task UntilBatchSizeAsync(int size) => Until.True(() => BatchSize == size, _clock, TimeSpan.FromSeconds(1));

    // The next poll would be 15,000 steps away, which is longer than the wait.
    Task UntilSignalledAsync(int size) =>
        Until.True(() => BatchSize == size, _clock, TimeSpan.FromMilliseconds(2));

    async Task UntilLogged(string text)
    {
        var end = _clock.GetUtcNow() + TimeSpan.FromHours(1);
        await Until.True(() => IsLogged() || _clock.GetUtcNow() > end, _clock, TimeSpan.FromSeconds(2));
        Assert.True(IsLogged(), $"'{text}' is not in:\n{string.Join('\n', _log.All)}");

        bool IsLogged() => _log.Has(text);
    }

    [Fact]
    public async Task The_settings_file_is_applied_at_the_start_and_after_every_rewrite()
    {
        await File.WriteAllTextAsync(FilePath, "\uFEFF// with a comment\n{\"batchSize\":3,}", Token);
        await StartAsync();
        Assert.Equal(3, BatchSize);
        await File.WriteAllTextAsync(FilePath, """{"batchSize":4}""", Token);
        await UntilBatchSizeAsync(4);
    }

    [Fact]
    public async Task An_atomic_replacement_of_the_file_is_noticed()
    {
        await File.WriteAllTextAsync(FilePath, """{"batchSize":3}""", Token);
        await StartAsync();
        for (var size = 4; size < 8; size++)
        {
            await File.WriteAllTextAsync(FilePath + ".new", $$"""{"batchSize":{{size}}}""", Token);
            File.Move(FilePath + ".new", FilePath, overwrite: true);
            await UntilBatchSizeAsync(size);
        }
    }

    [Fact]
    public async Task A_ConfigMap_update_by_the_kubelet_is_noticed()
    {
        // Like the kubelet: the file is a link through the link ..data, which is replaced by a rename.
        await WriteVersionAsync("..v1", 3);
        File.CreateSymbolicLink(Path.Combine(_directory, "..data"), "..v1");
        File.CreateSymbolicLink(FilePath, "..data/settings.json");
        await StartAsync();
        Assert.Equal(3, BatchSize);
        for (var version = 2; version < 5; version++)
        {
            await WriteVersionAsync($"..v{version}", 10 * version);
            File.CreateSymbolicLink(Path.Combine(_directory, "..data_tmp"), $"..v{version}");
            using var rename = Process.Start("mv", ["-T", Path.Combine(_directory, "..data_tmp"), Path.Combine(_directory, "..data")]);
            await rename.WaitForExitAsync(Token);
            Assert.Equal(0, rename.ExitCode);
            Directory.Delete(Path.Combine(_directory, $"..v{version - 1}"), recursive: true);
            await UntilBatchSizeAsync(10 * version);
        }
    }

    [Fact]
    public async Task A_change_is_noticed_without_waiting_for_the_next_poll()
    {
        await File.WriteAllTextAsync(FilePath, """{"batchSize":3}""", Token);
        await StartAsync();
        await File.WriteAllTextAsync(FilePath, """{"batchSize":4}""", Token);
        await UntilSignalledAsync(4);
        await File.WriteAllTextAsync(FilePath + ".new", """{"batchSize":5}""", Token);
        File.Move(FilePath + ".new", FilePath, overwrite: true);
        await UntilSignalledAsync(5);
    }

    [Fact]
    public async Task A_change_made_through_a_hard_link_in_another_directory_is_noticed()
    {
        // A bind mount of a single file is written in this way.
        var elsewhere = Directory.CreateDirectory(Path.Combine(_directory, "elsewhere")).FullName;
        var written = Path.Combine(elsewhere, "settings.json");
        await File.WriteAllTextAsync(written, """{"batchSize":3}""", Token);
        using var link = Process.Start("ln", [written, FilePath]);
        await link.WaitForExitAsync(Token);
        Assert.Equal(0, link.ExitCode);
        await StartAsync();
        await File.WriteAllTextAsync(written, """{"batchSize":4}""", Token);
        await UntilSignalledAsync(4);
    }

    [Fact]
    public async Task A_change_without_a_file_system_event_is_noticed_at_the_next_poll()
    {
        // The file is replaced in a directory that is not watched; the settings file is a link to it.
        var elsewhere = Directory.CreateDirectory(Path.Combine(_directory, "linked", "elsewhere")).FullName;
        var current = Path.Combine(elsewhere, "current");
        Directory.CreateDirectory(Path.Combine(elsewhere, "v1"));
        Directory.CreateDirectory(Path.Combine(elsewhere, "v2"));
        await File.WriteAllTextAsync(Path.Combine(elsewhere, "v1", "settings.json"), """{"batchSize":3}""", Token);
        await File.WriteAllTextAsync(Path.Combine(elsewhere, "v2", "settings.json"), """{"batchSize":4}""", Token);
        File.CreateSymbolicLink(current, "v1");
        File.CreateSymbolicLink(FilePath, Path.Combine(current, "settings.json"));
        await StartAsync();
        Assert.Equal(3, BatchSize);
        File.Delete(current);
        File.CreateSymbolicLink(current, "v2");
        await UntilBatchSizeAsync(4);
    }

    [Theory]
    [InlineData("""{"batchSize":""", "it is not JSON: line 1, byte 14: Expected depth to be zero at the end of the JSON payload")]
    [InlineData("{\n  \"batchSize\": NaN\n}", "it is not JSON: line 2, byte 16: 'N' is an invalid start of a value")]
    [InlineData("""{"batchSize":5,"batchSize":6}""", "it has the property 'batchSize' twice")]
    [InlineData("""{"sensors":{"a":{"kind":"host"},"a":{"kind":"host"}}}""", "it has the property 'a' twice")]
    [InlineData("""[{"batchSize":5}]""", "it is not a JSON object")]
    [InlineData("null", "it is not a JSON object")]
    [InlineData("", "it is not JSON")]
    [InlineData("""{"sink":"\ud800"}""", "it contains text that is not valid Unicode")]
    [InlineData("""{"\udc00":1}""", "it contains text that is not valid Unicode")]
    public async Task An_invalid_file_is_ignored_with_the_reason_in_the_log_and_applied_once_it_is_fixed(string content, string reason)
    {
        await File.WriteAllTextAsync(FilePath, """{"batchSize":3}""", Token);
        await StartAsync();
        // Replaced atomically, because a file that is written in place is empty for a moment.
        await File.WriteAllTextAsync(FilePath + ".new", content, Token);
        File.Move(FilePath + ".new", FilePath, overwrite: true);
        await UntilLogged(reason);
        Assert.Equal(3, BatchSize);
        Assert.Single(_log.All, line => line.Contains("is ignored", StringComparison.Ordinal)
            && !line.Contains("no answer", StringComparison.Ordinal)); // the fake clock may advance faster than the machine reads
        await File.WriteAllTextAsync(FilePath, """{"batchSize":9}""", Token);
        await UntilBatchSizeAsync(9);
    }

    [Fact]
    public async Task A_file_that_is_not_valid_UTF8_is_ignored()
    {
        await File.WriteAllTextAsync(FilePath, """{"batchSize":3}""", Token);
        await StartAsync();
        await File.WriteAllBytesAsync(FilePath, [.. "{\"sink\":\""u8, 0xff, 0xfe, .. "\",\"batchSize\":5}"u8], Token);
        await UntilLogged("is ignored");
        Assert.Equal(3, BatchSize);
    }

    [Fact]
    public async Task After_the_file_is_deleted_the_last_good_settings_stay_in_force_even_after_a_restart()
    {
        await File.WriteAllTextAsync(FilePath, """{"batchSize":3}""", Token);
        await StartAsync();
        File.Delete(FilePath);
        await UntilLogged("is ignored");
        Assert.Equal(3, BatchSize);

        await _file!.StopAsync(Token);
        _file.Dispose();
        await _parts.StopAsync();
        await _parts.StartAsync();
        await StartAsync();
        Assert.Equal(3, BatchSize);
    }

    [Fact]
    public async Task A_file_above_the_size_limit_is_ignored()
    {
        await File.WriteAllTextAsync(FilePath, """{"batchSize":3}""", Token);
        await StartAsync();
        await File.WriteAllTextAsync(FilePath, $$"""{"batchSize":4,"note":"{{new string('x', SettingsFile.MaxBytes)}}"}""", Token);
        await UntilLogged("it has more than 1048576 bytes");
        Assert.Equal(3, BatchSize);
    }

    async Task WriteVersionAsync(string name, int batchSize)
    {
        var directory = Directory.CreateDirectory(Path.Combine(_directory, name)).FullName;
        await File.WriteAllTextAsync(Path.Combine(directory, "settings.json"), $$"""{"batchSize":{{batchSize}}}""", Token);
    }
}
