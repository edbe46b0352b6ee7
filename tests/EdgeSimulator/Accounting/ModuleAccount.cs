namespace EdgeSimulator.Accounting;

/// <summary>The epochs of one module. Each start begins a new epoch and continues the ids. They restart or repeat only
/// if the module's database was lost or replaced by an older copy. Called only under the ledger's lock.</summary>
internal sealed class ModuleAccount
{
    readonly List<EpochAccount> _epochs = [];

    /// <summary>The ids reported as evicted, of all epochs.</summary>
    public IdRanges Evicted { get; } = new();

    public IReadOnlyList<EpochAccount> Epochs => _epochs;

    public EpochAccount Add(EpochKey key)
    {
        var account = new EpochAccount(key, this);
        _epochs.Add(account);
        return account;
    }

    /// <summary>The first id expected in an epoch: the first that arrived, or the one after the earlier epochs' ids if
    /// that is lower.</summary>
    public long FirstIdOf(EpochAccount account)
    {
        var before = _epochs.OrderBy(epoch => epoch.FirstId).TakeWhile(epoch => epoch != account);
        return Math.Min(account.FirstId, before.Select(epoch => epoch.UpTo).DefaultIfEmpty(0).Max() + 1);
    }
}
