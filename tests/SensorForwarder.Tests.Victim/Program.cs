using System.Globalization;
using System.IO.Pipes;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Operations;
using SensorForwarder.Sensors;

// Ends as the module does when there is a fault in it: an exception on a thread that nobody waits for.
if (args is ["--crash"])
{
    CrashLine.Install(TimeProvider.System);
    var thread = new Thread(() => throw new InvalidOperationException("made to fail\n<1>with a line of its own"));
    thread.Start();
    thread.Join();
    return;
}

// Opens the buffer in a directory and works it as hard as it can, until it is killed. Reports through a pipe, in lines:
//   n ID NUMBER     the reading with this number is on the medium under this id
//   a FIRST LAST    the rows from first to last are about to be acknowledged
//   d ID            the row is about to become a dead letter
var directory = args[0];
using var pipe = new AnonymousPipeClientStream(PipeDirection.Out, args[1]);
using var report = new StreamWriter(pipe) { AutoFlush = true };
var random = new Random(int.Parse(args[2], CultureInfo.InvariantCulture));
var number = long.Parse(args[3], CultureInfo.InvariantCulture);
var gate = new Lock();

void Tell(string line)
{
    lock (gate)
        report.Write(line + "\n");
}

await using var buffer = await TelemetryBuffer.OpenAsync(
    new BufferOptions
    {
        Directory = directory,
        // Small, so that the WAL is copied back again and again while the process dies.
        Limits = new BufferLimits
        {
            CommitInterval = TimeSpan.FromMilliseconds(random.Next(3)),
            MaxBytes = 2 << 20,
            // In one life of two what was delivered stays until room is needed.
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
        Tell(string.Create(CultureInfo.InvariantCulture, $"n {id} {mine}"));
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
    // What is left over stays in the file, and must survive every later kill.
    cursor = rows[^1].Id;
    if (random.Next(20) == 0)
    {
        Tell(string.Create(CultureInfo.InvariantCulture, $"d {cursor}"));
        await buffer.DeadLetterAsync(cursor, "400", "killed soon", CancellationToken.None);
    }
    else if (random.Next(4) != 0)
    {
        Tell(string.Create(CultureInfo.InvariantCulture, $"a {rows[0].Id} {rows[^1].Id}"));
        _ = buffer.AcknowledgeAsync(rows[0].Id, rows[^1].Id, CancellationToken.None);
    }
}
