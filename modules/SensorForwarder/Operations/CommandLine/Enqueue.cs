using System.Globalization;
using SensorForwarder.Configuration;
using SensorForwarder.Intake;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Sends JSON lines from standard input to the running module, in blocks, and ends when all of them are
/// stored. A block contains the lines that arrived while the previous one was stored.</summary>
internal static class Enqueue
{
    const int MaxLines = 5_000;

    static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        await using var input = Console.OpenStandardInput();
        var bytes = new byte[2 * IntakeLimits.MaxPayloadBytes];
        var (length, stored, isEnd) = (0, 0L, false);
        while (!isEnd || length > 0)
        {
            if (!isEnd && length < bytes.Length)
            {
                // Read can't be cancelled: a signal must end the command without waiting for the next line.
                var at = length;
                var read = await Task.Run(() => input.Read(bytes, at, bytes.Length - at), CancellationToken.None)
                    .WaitAsync(cancellationToken);
                (length, isEnd) = (length + read, read == 0);
            }

            while (Cut(bytes.AsSpan(0, length), isEnd, out var lines) is > 0 and var taken)
            {
                var sent = bytes.AsMemory(0, taken);
                if (await SendAsync(boot, sent, stored, timeProvider, cancellationToken) is { } failed) return failed;
                stored += lines;
                bytes.AsSpan(taken, length - taken).CopyTo(bytes);
                length -= taken;
            }

            if (length == bytes.Length)
                return Refuse(stored, $"line {stored + 1}: it has more than {IntakeLimits.MaxPayloadBytes} bytes");
        }

        return ExitCode.Ok;
    }

    /// <summary>Finds the whole lines at the beginning that fit into one request.</summary>
    /// <returns>Their length in bytes.</returns>
    static int Cut(ReadOnlySpan<byte> text, bool isEnd, out int lines)
    {
        lines = 0;
        var taken = 0;
        while (taken < text.Length && lines < MaxLines)
        {
            var end = text[taken..].IndexOf((byte)'\n');
            if (end < 0 && !isEnd) break;
            var line = end < 0 ? text.Length - taken : end + 1;

            // A large line is sent as a separate request.
            if (line > IntakeLimits.MaxItemBytes && lines > 0) break;
            (taken, lines) = (taken + line, lines + 1);
            if (line > IntakeLimits.MaxItemBytes) break;
        }

        return taken;
    }

    /// <returns>The exit code if the lines were not stored; null: they were.</returns>
    static async Task<int?> SendAsync(
        BootOptions boot, ReadOnlyMemory<byte> lines, long before, TimeProvider timeProvider,
        CancellationToken cancellationToken)
    {
        if (lines.Span.IndexOfAnyExcept(" \t\r\n"u8) < 0) return null;
        var began = timeProvider.GetTimestamp();
        while (true)
        {
            if (await EnqueueSocket.AskAsync(boot, lines, timeProvider, cancellationToken) is not { } answer)
                return Fail(before, $"no module that runs on {boot.BufferDirectory} answers", ExitCode.TryLater);
            switch (answer.Outcome)
            {
                case IntakeOutcome.Stored: return null;
                case IntakeOutcome.TooMuch or IntakeOutcome.Wait
                    when answer.RetryAfter is { } wait && timeProvider.GetElapsedTime(began) + wait < Patience:
                    await Task.Delay(wait, timeProvider, cancellationToken);
                    break;
                case IntakeOutcome.TooMuch or IntakeOutcome.Wait:
                    return Fail(
                        before, answer.Reason is { Length: > 0 } reason
                            ? $"the module can't store them now: {LogText.Clean(reason)}"
                            : "the module ended before it had answered", ExitCode.TryLater);
                default: return Refuse(before, Renumber(answer.Reason, before));
            }
        }
    }

    static int Refuse(long before, string reason) => Fail(before, LogText.Clean(reason), ExitCode.Failed);

    static int Fail(long before, string reason, int exitCode)
    {
        var stored = before == 0 ? "nothing was stored" : $"only the first {before} lines were stored";
        _ = Commands.Failed($"{reason}; {stored}");
        return exitCode;
    }

    // The module counts the lines of one request.
    static string Renumber(string reason, long before)
    {
        const string Start = "line ";
        var end = reason.IndexOfAny([':', ' '], Math.Min(Start.Length, reason.Length));
        return reason.StartsWith(Start, StringComparison.Ordinal) && end > 0
            && long.TryParse(reason.AsSpan(Start.Length..end), CultureInfo.InvariantCulture, out var number)
            ? $"{Start}{before + number}{reason[end..]}"
            : reason;
    }
}
