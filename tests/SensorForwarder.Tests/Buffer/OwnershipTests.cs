using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>One process owns the directory, and each run has its own epoch.</summary>
public sealed class OwnershipTests : IDisposable
{
    readonly BufferFixture _fixture = new(inMemory: true);

    static CancellationToken Token => BufferFixture.Token;

    [Fact]
    public async Task A_second_buffer_is_refused_with_the_owner_of_the_directory_and_can_open_it_afterwards()
    {
        await using (var buffer = await _fixture.OpenAsync())
        {
            await buffer.EnqueueAsync(BufferFixture.Reading(1), Token);
            var failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => _fixture.OpenAsync());
            Assert.Contains(
                $"is in use by process {Environment.ProcessId} on {Environment.MachineName}", failure.Message,
                StringComparison.Ordinal);
            await buffer.EnqueueAsync(BufferFixture.Reading(2), Token);
        }

        await using var next = await _fixture.OpenAsync();
        Assert.Equal(2, next.GetStatus().Depth);
    }

    [Fact]
    public async Task Restoring_a_copy_of_the_files_does_not_reuse_an_epoch_and_id()
    {
        var seen = new Dictionary<(string, long), string>();
        await RunAsync(1, seen);
        var copy = Directory.CreateDirectory(Path.Combine(_fixture.Directory, "copy")).FullName;
        // A process being forked just now may hold the lock for a moment longer.
        foreach (var file in Directory.GetFiles(_fixture.Directory).Where(path => !path.EndsWith(".lock", StringComparison.Ordinal)))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        await RunAsync(100, seen);
        foreach (var file in Directory.GetFiles(_fixture.Directory)) File.Delete(file);
        foreach (var file in Directory.GetFiles(copy)) File.Copy(file, Path.Combine(_fixture.Directory, Path.GetFileName(file)));
        await RunAsync(200, seen);
        Assert.Equal(30, seen.Count);
    }

    [Fact]
    public async Task A_batch_contains_only_readings_of_one_run()
    {
        for (var run = 0; run < 3; run++) await RunAsync(10 * run, []);
        await using var buffer = await _fixture.OpenAsync();
        var sizes = new List<int>();
        for (var after = 0L; buffer.PeekBatch(after, 100, 1 << 20) is { Count: > 0 } rows; after = rows[^1].Id)
        {
            Assert.Single(rows.Select(row => row.Epoch).Distinct());
            sizes.Add(rows.Count);
        }

        Assert.Equal([10, 10, 10], sizes);
    }

    [Fact]
    public async Task A_running_check_ends_when_the_buffer_is_closed()
    {
        for (var i = 0; i < 20; i++)
        {
            Task<string?> check;
            await using (var buffer = await _fixture.OpenAsync())
            {
                if (i == 0)
                {
                    await Task.WhenAll(Enumerable.Range(1, 2_000).Select(
                        n => buffer.EnqueueAsync(BufferFixture.Incompressible(n), Token).AsTask()));
                }

                check = buffer.CheckAsync();
                // At a different point each time.
                await Task.Delay(i, Token);
            }

            var failure = await Record.ExceptionAsync(() => check);
            if (failure is null) Assert.Null(await check);
            else Assert.IsType<BufferUnavailableException>(failure);
        }
    }

    [Fact]
    public async Task After_a_clean_stop_there_is_no_WAL()
    {
        await RunAsync(1, []);
        Assert.Equal(
            ["telemetry.db", "telemetry.lock", "telemetry.reserve"],
            Directory.GetFiles(_fixture.Directory).Select(Path.GetFileName).Order());
    }

    public void Dispose() => _fixture.Dispose();

    // Stores ten readings; the receiver sees the waiting ones.
    async Task RunAsync(int first, Dictionary<(string, long), string> seen)
    {
        await using var buffer = await _fixture.OpenAsync();
        for (var number = first; number < first + 10; number++) await buffer.EnqueueAsync(BufferFixture.Reading(number), Token);
        await Until.True(() => File.Exists(Path.Combine(_fixture.Directory, "telemetry.reserve")));
        foreach (var row in BufferFixture.ReadAll(buffer))
        {
            var text = BufferFixture.Text(row);
            Assert.Equal(text, seen.TryAdd((row.Epoch, row.Id), text) ? text : seen[(row.Epoch, row.Id)]);
        }
    }
}
