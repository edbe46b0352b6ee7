namespace SensorForwarder.Intake;

/// <summary>What became of a request.</summary>
internal enum IntakeOutcome
{
    /// <summary>The whole request is stored.</summary>
    Stored,

    /// <summary>It is invalid; a retry would not help.</summary>
    Malformed,

    /// <summary>It, or one of its items, is too large.</summary>
    TooLarge,

    /// <summary>Its source exceeds its limit; retry later.</summary>
    TooMuch,

    /// <summary>It can't be stored now; retry later.</summary>
    Wait,

    /// <summary>Its token is missing or wrong.</summary>
    Unauthorized,
}

/// <summary>The answer to a request. Only <see cref="IntakeOutcome.Stored"/> acknowledges it.</summary>
/// <param name="Reason">A sentence that names the line or element; empty when it is stored.</param>
/// <param name="RetryAfter">When to retry; null: a retry would not help.</param>
internal sealed record IntakeAnswer(IntakeOutcome Outcome, string Reason, TimeSpan? RetryAfter = null)
{
    /// <summary>When to try again to store something.</summary>
    public static readonly TimeSpan Later = TimeSpan.FromSeconds(5);

    public static readonly IntakeAnswer Stored = new(IntakeOutcome.Stored, "");

    public static IntakeAnswer Malformed(string reason) => new(IntakeOutcome.Malformed, reason);

    public static IntakeAnswer TooLarge(string reason) => new(IntakeOutcome.TooLarge, reason);

    public static IntakeAnswer Wait(string reason) => new(IntakeOutcome.Wait, reason, Later);
}
