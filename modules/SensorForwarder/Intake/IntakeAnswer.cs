namespace SensorForwarder.Intake;

/// <summary>The outcome of a request.</summary>
internal enum IntakeOutcome
{
    /// <summary>The whole request is stored.</summary>
    Stored,

    /// <summary>The request is invalid; a retry would not help.</summary>
    Malformed,

    /// <summary>The request, or one of its items, is too large.</summary>
    TooLarge,

    /// <summary>The source exceeds its rate limit; retry later.</summary>
    TooMuch,

    /// <summary>The request can't be stored now; retry later.</summary>
    Wait,

    /// <summary>The token is missing or wrong.</summary>
    Unauthorized,
}

/// <summary>The answer to a request. Only <see cref="IntakeOutcome.Stored"/> acknowledges it.</summary>
/// <param name="Reason">What is wrong, with the line or element; empty: the request is stored.</param>
/// <param name="RetryAfter">When to retry; null: a retry would not help.</param>
internal sealed record IntakeAnswer(IntakeOutcome Outcome, string Reason, TimeSpan? RetryAfter = null)
{
    /// <summary>The time before a retry, while the buffer or the volume refuses readings.</summary>
    public static readonly TimeSpan Later = TimeSpan.FromSeconds(5);

    public static readonly IntakeAnswer Stored = new(IntakeOutcome.Stored, "");

    public static IntakeAnswer Malformed(string reason) => new(IntakeOutcome.Malformed, reason);

    public static IntakeAnswer TooLarge(string reason) => new(IntakeOutcome.TooLarge, reason);

    public static IntakeAnswer Wait(string reason) => new(IntakeOutcome.Wait, reason, Later);
}
