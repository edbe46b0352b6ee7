namespace EdgeSimulator.Accounting;

/// <summary>One batch that arrived: which ids, and whether the module was told. Made by <see cref="Ledger"/>, which also locks it.</summary>
internal sealed class Receipt(Ledger ledger, EpochAccount account, IReadOnlyList<BatchItem> items, int bytes)
{
    public EpochAccount Account { get; } = account;

    public IReadOnlyList<BatchItem> Items { get; } = items;

    public IEnumerable<long> Ids => Items.Select(item => item.Id);

    /// <summary>The size of the message's body.</summary>
    public int Bytes { get; } = bytes;

    /// <summary>When the acknowledgement went out, as a timestamp of the time provider.</summary>
    public long? AcknowledgedAt { get; set; }

    /// <summary>The acknowledgement is on its way to the module.</summary>
    public void Acknowledge() => ledger.Acknowledge(this);
}
