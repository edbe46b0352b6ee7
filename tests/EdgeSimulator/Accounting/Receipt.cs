namespace EdgeSimulator.Accounting;

/// <summary>One batch that the module sent: its readings, and when it was acknowledged. Created and locked by
/// <see cref="Ledger"/>.</summary>
internal sealed class Receipt(Ledger ledger, EpochAccount account, IReadOnlyList<BatchItem> items, int bytes)
{
    public EpochAccount Account { get; } = account;

    public IReadOnlyList<BatchItem> Items { get; } = items;

    public IEnumerable<long> Ids => Items.Select(item => item.Id);

    /// <summary>The size of the message's body.</summary>
    public int Bytes { get; } = bytes;

    /// <summary>When the acknowledgement was sent, as a timestamp of the time provider. Null before.</summary>
    public long? AcknowledgedAt { get; set; }

    /// <summary>Called when the acknowledgement is sent to the module.</summary>
    public void Acknowledge() => ledger.Acknowledge(this);
}
