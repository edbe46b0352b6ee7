using System.Text.Json.Nodes;

namespace EdgeSimulator.Twins;

/// <summary>The module twin, in memory. Thread-safe; returns copies.</summary>
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

    /// <summary>Raised when the desired properties change, with the patch and its $version as sent to subscribers.
    /// Raised in order and under the lock, so handlers must not block.</summary>
    public event Action<JsonObject>? DesiredChanged;

    /// <summary>The Plug and Play model id that the module sent when it connected; empty if none.</summary>
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

    /// <summary>The twin document as sent to the module:
    /// <c>{"desired":{...,"$version":N},"reported":{...,"$version":K}}</c>.</summary>
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

    /// <summary>Merges a patch from the cloud and raises <see cref="DesiredChanged"/>. Returns the new
    /// version.</summary>
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

    /// <summary>Removes $version and $metadata, which only IoT Hub sets.</summary>
    static JsonObject WithoutMetadata(JsonObject patch)
    {
        var copy = patch.DeepClone().AsObject();
        copy.Remove("$version");
        copy.Remove("$metadata");
        return copy;
    }
}
