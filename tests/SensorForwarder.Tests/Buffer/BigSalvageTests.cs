using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A large damaged file: new readings are stored immediately, and the old ones are copied in the background.</summary>
public sealed class BigSalvageTests : IDisposable
{
    static readonly int Megabytes = Tier.Size("TEST_BUFFER_DAMAGED_MEGABYTES", quick: 1, full: 20, deep: 512);

    // The largest number of readings below one interior page: nine segments.
    const int MostOfOnePage = 9 * 512;

    readonly BufferFixture _fixture = new();

    [Fact]
    public async Task New_readings_are_stored_before_a_salvage_is_complete_and_every_undamaged_old_reading_is_copied()
    {
        var readings = Megabytes * 7_000;
        var epoch = await MakeAsync(readings, acknowledgeThrough: 1_000, isNoisy: false);
        Spoil(page: 1);
        Spoil(page: 100);

        var returned = new TaskCompletionSource();
        await using var buffer = await _fixture.OpenAsync(Large, waits: false);
        buffer.ReadingsReturned += () => returned.TrySetResult();
        Assert.NotEqual(epoch, buffer.Epoch);
        Assert.Equal(readings + 1, await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token));
        Assert.Equal("{}", System.Text.Encoding.UTF8.GetString(buffer.LoadDocument("settings")!.Value.Span));
        Assert.NotNull(buffer.GetStatus().Salvage);
        // Delivering a new reading during the salvage must not remove salvaged ones.
        await buffer.AcknowledgeAsync(readings + 1, readings + 1, BufferFixture.Token);

        await SalvagedAsync(buffer);
        var rows = BufferFixture.ReadAll(buffer).Where(r => !IsGap(r)).ToList();
        Assert.Equal(rows.Select(r => r.Id).Order().Distinct(), rows.Select(r => r.Id));
        Assert.InRange(rows.Count, readings - 1_000 - MostOfOnePage, readings - 1_000 - 1);
        Assert.All(rows, row => Assert.Equal(
            System.Text.Encoding.UTF8.GetString(ReadingEncoder.Encode(BufferFixture.Reading((int)row.Id))), BufferFixture.Text(row)));
        var salvage = buffer.GetStatus().Salvage!;
        Assert.Equal(rows.Count + 1, salvage.Readings);
        Assert.Equal(readings - 1_000 - 1 - rows.Count, salvage.Missing);
        Assert.True(File.Exists(salvage.KeptAs));
        await buffer.DisposeAsync();
        await using var again = await _fixture.OpenAsync(Large);
        Assert.Equal(rows.Count, BufferFixture.ReadAll(again).Count(r => !IsGap(r)));
        Assert.Equal(salvage with { At = again.GetStatus().Salvage!.At }, again.GetStatus().Salvage);
        Assert.Equal("refused", Assert.Single(again.ListDeadLetters(0, 10)).Answer);
    }

    [Fact(Explicit = true)]
    public async Task A_salvage_that_is_interrupted_repeatedly_copies_each_reading_once()
    {
        await MakeAsync(20_000, acknowledgeThrough: 0);
        Spoil(page: 1);
        var runs = 0;
        for (var complete = false; !complete; runs++)
        {
            // Stop after a little progress.
            using var held = new HeldWriter(_fixture.Directory, afterWrites: 300 + (100 * runs));
            await using var buffer = await OpenInPiecesAsync(RecordingVfs.Name);
            await UntilAsync(() => held.IsHeld || buffer.GetStatus().Salvage!.IsComplete);
            complete = buffer.GetStatus().Salvage!.IsComplete;
            await held.CloseAsync(buffer);
        }
        await using var last = await OpenInPiecesAsync();
        Assert.Equal(19_999, BufferFixture.ReadAll(last).Count);
        Assert.Equal(20_000, last.GetStatus().Salvage!.Readings);
        Assert.Equal(19_999, last.GetStatus().Depth);
        Assert.True(runs > 2, $"{runs} runs");
    }

    [Fact]
    public async Task A_damaged_file_that_cannot_be_read_is_logged_and_retried()
    {
        await MakeAsync(20_000, acknowledgeThrough: 0);
        Spoil(page: 1);
        await (await OpenInPiecesAsync()).DisposeAsync();
        var kept = Assert.Single(Directory.GetFiles(_fixture.Directory, "telemetry.damaged-*.db"));
        var log = new LogLines();
        var time = new FakeTimeProvider(BufferFixture.Noon);
        var locked = new FileStream(kept, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        await using var buffer = await _fixture.OpenAsync(
            Large, time, logger: log.For<TelemetryBuffer>(), waits: false);
        await log.Waits($"Copying the readings of {kept} failed");
        Assert.False(buffer.GetStatus().Salvage!.IsComplete);
        await locked.DisposeAsync();
        await Until.True(() => buffer.GetStatus().Salvage!.IsComplete, time, TimeSpan.FromSeconds(10));
        Assert.Equal(19_999, BufferFixture.ReadAll(buffer).Count);
        Assert.Single(log.All, line => line.Contains("failed", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_damaged_file_that_is_deleted_before_its_salvage_is_complete_ends_it_and_is_logged()
    {
        await MakeAsync(20_000, acknowledgeThrough: 0);
        Spoil(page: 1);
        await (await OpenInPiecesAsync()).DisposeAsync();
        var kept = Assert.Single(Directory.GetFiles(_fixture.Directory, "telemetry.damaged-*.db"));
        File.Delete(kept);
        var log = new LogLines();
        await using var buffer = await _fixture.OpenAsync(
            Large, logger: log.For<TelemetryBuffer>());
        await SalvagedAsync(buffer);
        Assert.True(log.Has($"The damaged file {kept} was deleted"));
        var salvage = buffer.GetStatus().Salvage!;
        var shown = BufferFixture.ReadAll(buffer).Count(r => !IsGap(r));
        Assert.Equal(salvage.Readings, shown + buffer.ListDeadLetters(0, 10).Count);
    }

    [Fact(Explicit = true)]
    public async Task Damage_to_the_new_file_during_a_salvage_loses_no_readable_reading_of_either_file()
    {
        await MakeAsync(80_000, acknowledgeThrough: 0);
        Spoil(page: 1);
        using (var held = new HeldWriter(_fixture.Directory, afterWrites: 400))
        {
            await using var buffer = await OpenInPiecesAsync(RecordingVfs.Name);
            var stored = buffer.EnqueueAsync(BufferFixture.Reading(80_001), BufferFixture.Token);
            await UntilAsync(() => held.IsHeld);
            Assert.InRange(buffer.GetStatus().Salvage!.Readings, 1, 79_999);
            await held.CloseAsync(buffer);
            Assert.Equal(80_001, await stored);
        }
        Spoil(page: 1);
        await using var again = await OpenInPiecesAsync();
        await SalvagedAsync(again);
        var rows = BufferFixture.ReadAll(again).Where(r => !IsGap(r)).Select(r => r.Id).ToList();
        Assert.Equal(Enumerable.Range(1, 80_001).Select(i => (long)i).Where(i => i != 5), rows);
    }

    [Fact(Explicit = true)]
    public async Task Salvaged_readings_that_exceed_the_size_limit_are_thinned_and_counted()
    {
        await MakeAsync(30_000, acknowledgeThrough: 0);
        Spoil(page: 1);
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { MaxBytes = 2 << 20 });
        await SalvagedAsync(buffer);
        var status = buffer.GetStatus();
        Assert.InRange(status.FileBytes, 1, 2 << 20);
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(29_999, rows.Count + status.Evicted.Where(e => e.Reason == "thinned").Sum(e => e.Count));
        Assert.InRange(rows[0].Id, 1, 100);
    }

    public void Dispose() => _fixture.Dispose();

    static BufferLimits Large => BufferFixture.AtOnce with { MaxBytes = 8L << 30 };

    static bool IsGap(BufferedReading row) => BufferFixture.Text(row).Contains("\"kind\":\"gap\"", StringComparison.Ordinal);

    Task<TelemetryBuffer> OpenInPiecesAsync(string? vfs = null) =>
        _fixture.OpenAsync(Large, with: o => o with { Vfs = vfs }, waits: false);

    static Task SalvagedAsync(TelemetryBuffer buffer) =>
        UntilAsync(() => buffer.GetStatus().Salvage is { IsComplete: true });

    static async Task UntilAsync(Func<bool> condition)
    {
        var guard = Task.Delay(TimeSpan.FromMinutes(20), TimeProvider.System, BufferFixture.Token);
        while (!condition())
        {
            Assert.False(guard.IsCompleted, "the condition was not met within 20 minutes");
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, BufferFixture.Token);
        }
    }

    /// <summary>Blocks the writer after a number of writes, so that it can't have finished by then.</summary>
    sealed class HeldWriter : IDisposable
    {
        readonly string _directory;
        readonly ManualResetEventSlim _release = new();
        int _left;

        public HeldWriter(string directory, int afterWrites)
        {
            (_directory, _left) = (directory, afterWrites);
            RecordingVfs.Attach(directory, new() { Before = Count });
        }

        public bool IsHeld => Volatile.Read(ref _left) < 0;

        /// <summary>Closes the buffer, and unblocks the writer once it is stopping.</summary>
        public async Task CloseAsync(TelemetryBuffer buffer)
        {
            var closing = buffer.DisposeAsync();
            _release.Set();
            await closing;
        }

        public void Dispose()
        {
            _release.Set();
            RecordingVfs.Detach(_directory);
        }

        void Count(FileOperation operation)
        {
            if (operation.Kind == FileOperationKind.Write && Interlocked.Decrement(ref _left) < 0) _release.Wait();
        }
    }

    // With a dead letter, a document and delivered readings.
    async Task<string> MakeAsync(int readings, int acknowledgeThrough, bool isNoisy = true)
    {
        await using var buffer = await _fixture.OpenAsync(Large);
        for (var i = 1; i <= readings; i += 1_000)
        {
            await Task.WhenAll(Enumerable.Range(i, Math.Min(1_000, readings - i + 1)).Select(n =>
                buffer.EnqueueAsync(
                    isNoisy ? BufferFixture.Incompressible(n) : BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList());
        }
        await buffer.SaveDocumentAsync("settings", "{}"u8.ToArray(), BufferFixture.Token);
        await buffer.DeadLetterAsync(acknowledgeThrough + 5, "400", "refused", BufferFixture.Token);
        if (acknowledgeThrough > 0)
            await buffer.AcknowledgeAsync(1, acknowledgeThrough, BufferFixture.Token);
        return buffer.Epoch;
    }

    void Spoil(int page)
    {
        using var file = new FileStream(_fixture.DatabasePath, FileMode.Open, FileAccess.ReadWrite);
        file.Position = (page - 1) * 1024L;
        var bytes = new byte[1024];
        new Random(page).NextBytes(bytes);
        file.Write(bytes);
    }
}
