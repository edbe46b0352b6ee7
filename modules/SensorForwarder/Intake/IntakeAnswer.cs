namespace SensorForwarder.Intake;

/// <summary>What became of a request.</summary>
internal enum IntakeOutcome
{
    /// <summary>All of it is on the medium.</summary>
    Stored,

    /// <summary>It has a mistake and will not be stored as it is.</summary>
    Malformed,

    /// <summary>It, or one of its items, is too large.</summary>
    TooLarge,

    /// <summary>Its source sends too much; later it is taken.</summary>
    TooMuch,

    /// <summary>It could not be stored now; later it is taken.</summary>
    Wait,

    /// <summary>It has no token, or a wrong one.</summary>
    Unauthorized,
}

/// <summary>The answer to a request. Only <see cref="IntakeOutcome.Stored"/> acknowledges it.</summary>
/// <param name="Reason">A sentence that names the line or element; empty when it is stored.</param>
/// <param name="RetryAfter">When to try again; null: not without a change.</param>
internal sealed record IntakeAnswer(IntakeOutcome Outcome, string Reason, TimeSpan? RetryAfter = null)
{
    /// <summary>When to try again to store something.</summary>
    public static readonly TimeSpan Later = TimeSpan.FromSeconds(5);

    public static readonly IntakeAnswer Stored = new(IntakeOutcome.Stored, "");

    public static IntakeAnswer Malformed(string reason) => new(IntakeOutcome.Malformed, reason);

    public static IntakeAnswer TooLarge(string reason) => new(IntakeOutcome.TooLarge, reason);

    public static IntakeAnswer Wait(string reason) => new(IntakeOutcome.Wait, reason, Later);
}
