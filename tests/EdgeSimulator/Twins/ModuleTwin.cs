using System.Text.Json.Nodes;

namespace EdgeSimulator.Twins;

/// <summary>The module twin, in memory. Thread-safe; what it hands out are copies.</summary>
internal sealed class ModuleTwin
{
    readonly Lock _lock = new();
    readonly JsonObject _desired = [];
    readonly JsonObject _reported = [];
    long _desiredVersion = 1;
    long _reportedVersion = 1;
    volatile string _modelId = "";

    public ModuleTwin(JsonObject desired)
    {
        MergePatch.Apply(_desired, WithoutMetadata(desired));
    }

    /// <summary>The desired properties have changed: the patch with its $version, as it goes to a subscriber. In order, so the
    /// handler is called under the lock and may only enqueue.</summary>
    public event Action<JsonObject>? DesiredChanged;

    /// <summary>The Plug and Play model that the module announced when it connected; empty without one.</summary>
    public string ModelId
    {
        get => _modelId;
        set => _modelId = value;
    }

    public long DesiredVersion
    {
        get
        {
            lock (_lock)
            {
                return _desiredVersion;
            }
        }
    }

    /// <summary>The document as a module gets it: <c>{"desired":{...,"$version":N},"reported":{...,"$version":K}}</c>.</summary>
    public JsonObject Document()
    {
        lock (_lock)
        {
            return new JsonObject
            {
                ["desired"] = Versioned(_desired, _desiredVersion),
                ["reported"] = Versioned(_reported, _reportedVersion),
            };
        }
    }

    /// <summary>Merges a patch from the cloud side and tells the subscriber. Returns the new version.</summary>
    public long PatchDesired(JsonObject patch)
    {
        var clean = WithoutMetadata(patch);
        lock (_lock)
        {
            MergePatch.Apply(_desired, clean);
            _desiredVersion++;
            DesiredChanged?.Invoke(Versioned(clean, _desiredVersion));
            return _desiredVersion;
        }
    }

    /// <summary>Merges a patch from the module. Returns the new version.</summary>
    public long PatchReported(JsonObject patch)
    {
        lock (_lock)
        {
            MergePatch.Apply(_reported, WithoutMetadata(patch));
            return ++_reportedVersion;
        }
    }

    static JsonObject Versioned(JsonObject properties, long version)
    {
        var copy = properties.DeepClone().AsObject();
        copy["$version"] = version;
        return copy;
    }

    /// <summary>$version and $metadata belong to the hub; what a patch says about them counts for nothing.</summary>
    static JsonObject WithoutMetadata(JsonObject patch)
    {
        var copy = patch.DeepClone().AsObject();
        copy.Remove("$version");
        copy.Remove("$metadata");
        return copy;
    }
}
