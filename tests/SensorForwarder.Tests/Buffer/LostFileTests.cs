using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>The files are deleted, renamed or replaced while they are open: no committed reading is lost.</summary>
public sealed class LostFileTests : IDisposable
{
    readonly BufferFixture _fixture = new(inMemory: true);
    readonly LogLines _log = new();

    static CancellationToken Token => BufferFixture.Token;

    [Theory]
    [InlineData("database deleted")]
    [InlineData("database renamed")]
    [InlineData("log deleted")]
    [InlineData("all deleted")]
    [InlineData("directory renamed")]
    [InlineData("directory deleted")]
    public async Task Every_waiting_reading_is_in_the_new_file_after_the_files_were_deleted_or_renamed(string what)
    {
        await using var buffer = await OpenAsync();
        await StoreAsync(buffer, 1, 300);
        await buffer.AcknowledgeAsync(1, 100, Token);
        Lose(what);
        await StoreAsync(buffer, 301, 10);
        await BufferFixture.RecoveredAsync(buffer);
        await StoreAsync(buffer, 311, 10);
        Check(buffer, 101, 320);
        Assert.Single(_log.All, line => line.Contains("was deleted, renamed or replaced while it was open", StringComparison.Ordinal));
        await buffer.DisposeAsync();

        // The file that the next start opens has the same readings.
        await using var again = await OpenAsync();
        Check(again, 101, 320);
    }

    [Fact]
    public async Task An_older_copy_in_place_of_the_file_keeps_its_readings_and_gets_the_missing_ones()
    {
        await using (var buffer = await OpenAsync())
            await StoreAsync(buffer, 1, 50);
        var copy = Path.Combine(_fixture.Directory, "copy");
        File.Copy(_fixture.DatabasePath, copy);
        await using var opened = await OpenAsync();
        await StoreAsync(opened, 51, 50);
        File.Delete(_fixture.DatabasePath + "-wal");
        File.Move(copy, _fixture.DatabasePath, overwrite: true);
        await StoreAsync(opened, 101, 1);
        await BufferFixture.RecoveredAsync(opened);
        Check(opened, 1, 101);
    }

    public void Dispose()
    {
        if (Directory.Exists(_fixture.Directory + "-moved")) Directory.Delete(_fixture.Directory + "-moved", recursive: true);
        _fixture.Dispose();
    }

    void Lose(string what)
    {
        var database = _fixture.DatabasePath;
        switch (what)
        {
            case "database deleted":
                File.Delete(database);
                break;
            case "database renamed":
                File.Move(database, database + ".moved");
                break;
            case "log deleted":
                File.Delete(database + "-wal");
                break;
            case "all deleted":
                foreach (var file in Directory.GetFiles(_fixture.Directory, "telemetry.db*")) File.Delete(file);
                break;
            case "directory renamed":
                Directory.Move(_fixture.Directory, _fixture.Directory + "-moved");
                break;
            default:
                Directory.Delete(_fixture.Directory, recursive: true);
                break;
        }
    }

    Task<TelemetryBuffer> OpenAsync() => _fixture.OpenAsync(logger: _log.For<TelemetryBuffer>());

    static Task<long[]> StoreAsync(TelemetryBuffer buffer, int first, int count) => Task.WhenAll(Enumerable.Range(first, count)
        .Select(number => buffer.EnqueueAsync(BufferFixture.Reading(number), Token).AsTask()).ToList());

    // Compared by content: a reading stored before the loss was detected may have a new id.
    static void Check(TelemetryBuffer buffer, int first, int last)
    {
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(rows.Count, rows.Select(row => (row.Epoch, row.Id)).Distinct().Count());
        Assert.Equal(
            Enumerable.Range(first, last - first + 1).Select(number => $"\"number\":{number}}}").Order(),
            rows.Select(BufferFixture.Text).Where(text => !text.Contains("\"gap\"", StringComparison.Ordinal))
                .Select(text => text[text.IndexOf("\"number\"", StringComparison.Ordinal)..^1]).Order());
    }
}
