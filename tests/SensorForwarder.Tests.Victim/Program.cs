using System.Globalization;
using System.IO.Pipes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Operations;
using SensorForwarder.Readings;

// Crashes the way a bug in the module would: with an unhandled exception on a background thread.
if (args is ["--crash"])
{
    CrashLine.Install(TimeProvider.System);
    var thread = new Thread(() => throw new InvalidOperationException("made to fail\n<1>with a line of its own"));
    thread.Start();
    thread.Join();
    return;
}

// Logs more lines than fit into the pipe and the queue of the console.
if (args is ["--log", var count])
{
    using var loggers = Logs.CreateFactory(new LogLevelSwitch(LogLevel.Information), new RecentEvents(TimeProvider.System), TimeProvider.System);
    var logger = loggers.CreateLogger("SensorForwarder.Victim");
    // RepeatedLines writes five lines of an event before it begins to count them.
    for (var i = 0; i < int.Parse(count, CultureInfo.InvariantCulture); i++)
        logger.Log(LogLevel.Information, new EventId(i / RepeatedLines.LinesInPeriod), i, null, static (line, _) => $"line {line}");
    return;
}

// Opens the buffer in a directory and uses it under full load until the process is killed. Reports lines through a
// pipe:
//   n ID NUMBER   the reading with this number has been committed with this id
//   a FIRST LAST  the readings from first to last are about to be acknowledged
//   d ID          the reading is about to become a dead letter
var directory = args[0];
using var pipe = new AnonymousPipeClientStream(PipeDirection.Out, args[1]);
using var report = new StreamWriter(pipe) { AutoFlush = true };
var random = new Random(int.Parse(args[2], CultureInfo.InvariantCulture));
var number = long.Parse(args[3], CultureInfo.InvariantCulture);
var gate = new Lock();

void Report(string line)
{
    lock (gate)
        report.Write(line + "\n");
}

await using var buffer = await TelemetryBuffer.OpenAsync(
    new BufferOptions
    {
        Directory = directory,
        // Small, so that kills often hit a checkpoint of the WAL.
        Limits = new BufferLimits
        {
            CommitInterval = TimeSpan.FromMilliseconds(random.Next(3)),
            MaxBytes = 2 << 20,
            // In half of the runs, delivered readings are retained until space is needed.
            RetainForwarded = TimeSpan.FromHours(random.Next(2) * 1_000_000),
        },
    },
    TimeProvider.System, NullLogger<TelemetryBuffer>.Instance, CancellationToken.None);

var producers = Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
{
    while (true)
    {
        var mine = Interlocked.Increment(ref number);
        var id = await buffer.EnqueueAsync(
            new Reading
            {
                Sensor = "victim",
                Kind = "simulated",
                Time = DateTimeOffset.UnixEpoch.AddSeconds(mine),
                Values = [new("number", mine)],
            },
            CancellationToken.None);
        Report(string.Create(CultureInfo.InvariantCulture, $"n {id} {mine}"));
    }
})).ToArray();

var cursor = 0L;
while (true)
{
    var rows = buffer.PeekBatch(cursor, random.Next(1, 50), 100_000);
    if (rows.Count == 0)
    {
        await Task.Yield();
        continue;
    }
    // Readings that are neither acknowledged nor dead-lettered below stay in the file and must survive all later kills.
    cursor = rows[^1].Id;
    if (random.Next(20) == 0)
    {
        Report(string.Create(CultureInfo.InvariantCulture, $"d {cursor}"));
        await buffer.DeadLetterAsync(cursor, "400", "killed soon", CancellationToken.None);
    }
    else if (random.Next(4) != 0)
    {
        Report(string.Create(CultureInfo.InvariantCulture, $"a {rows[0].Id} {rows[^1].Id}"));
        _ = buffer.AcknowledgeAsync(IdSet.Of(rows[0].Id, rows[^1].Id), CancellationToken.None);
    }
}
