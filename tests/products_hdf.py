"""Writers of HDF5 products for the tests, with the groups, attributes and orders of the real ones, by h5py alone."""

import h5py
import numpy as np
import rasterio.crs

UTM33 = 32633
WGS84 = rasterio.crs.CRS.from_epsg(4326).to_wkt()
GRANULE = "20220810T034103_2222203_001"
RFL, MASK = f"EMIT_L2A_RFL_001_{GRANULE}.nc", f"EMIT_L2A_MASK_002_{GRANULE}.nc"
MASK_BANDS = ("Cloud flag", "Cirrus flag", "Water flag", "Spacecraft Flag", "Dilated Cloud Flag")
MASK_BANDS += ("AOD550", "H2O (g cm-2)", "Aggregate Flag")
PRISMA_SWATH = "HDFEOS/SWATHS/PRS_L2D_HCO"


def write_prisma(path, vnir, swir, cw_vnir, cw_swir, *, errors=None, edges=False, level="L2D", **attributes):
    """Cubes are (bands, rows, columns), shortest wavelength first; they are stored the other way round as the product does.

    A wavelength of 0 is a band that was not acquired. `errors` are the two error matrices, in the order of the cubes.
    """
    _, height, width = vnir.shape
    span = (0 if edges else 1) * 30
    given = {
        "Processing_Level": b"2D",
        "Epsg_Code": np.int64(UTM33),
        "Product_ULcorner_easting": 500000.0,
        "Product_ULcorner_northing": 5000000.0,
        "Product_LRcorner_easting": 500000.0 + 30 * width - span,
        "Product_LRcorner_northing": 5000000.0 - 30 * height + span,
    }
    fields = f"HDFEOS/SWATHS/PRS_{level}_HCO/Data Fields"
    with h5py.File(path, "w") as file:
        pairs = {"Vnir": (vnir, cw_vnir, 0.0, 0.8), "Swir": (swir, cw_swir, 0.1, 0.6)}
        for position, (kind, (cube, centres, low, high)) in enumerate(pairs.items()):
            stored = [cube] if errors is None else [cube, errors[position]]
            for name, array in zip(("Cube", "PIXEL_L2_ERR_MATRIX"), stored, strict=False):
                file[f"{fields}/{kind.upper()}_{name}"] = np.ascontiguousarray(array[::-1].transpose(1, 0, 2))
            centres = np.array(centres, "float32")[::-1]
            given |= {
                f"List_Cw_{kind}": centres,
                f"List_Cw_{kind}_Flags": (centres > 0).astype("int32"),
                f"List_Fwhm_{kind}": np.where(centres > 0, centres / 100, 0).astype("float32"),
                f"L2Scale{kind}Min": np.float32(low),
                f"L2Scale{kind}Max": np.float32(high),
            }
        for key, value in (given | attributes).items():
            if value is not None:
                file.attrs[key] = value
    return path


def write_emit(path, raw, glt_y, glt_x, *, wavelengths=None, good=None, drop=(), **attributes):
    """A cube (rows, columns, bands) as the sensor saw it, and the one-based lookup table of the map."""
    count = raw.shape[2]
    given = {"geotransform": np.array([10.0, 0.0005, 0.0, 50.0, 0.0, -0.0005]), "spatial_ref": WGS84}
    arrays = {
        "reflectance": raw.astype("float32"),
        "sensor_band_parameters/wavelengths": np.array(wavelengths or np.linspace(381, 2493, count), "float32"),
        "sensor_band_parameters/fwhm": np.full(count, 8.5, "float32"),
        "sensor_band_parameters/good_wavelengths": np.array(good or [1] * count, "float32"),
        "location/glt_x": np.array(glt_x, "int32"),
        "location/glt_y": np.array(glt_y, "int32"),
        "location/lat": np.zeros(raw.shape[:2]),
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if name not in drop:
                file.create_dataset(name, data=array, compression="gzip")
                file[name].attrs["_FillValue"] = array.dtype.type(-9999)
        file["sensor_band_parameters/wavelengths"].attrs["units"] = "nm"
        for key, value in (given | attributes).items():
            if key not in drop:
                file.attrs[key] = value
    return path


def write_emit_mask(path, flags, names=MASK_BANDS):
    """Flags (rows, columns, bands) with the names of the bands as variable-length text."""
    with h5py.File(path, "w") as file:
        file["mask"] = flags.astype("float32")
        file.create_dataset("sensor_band_parameters/mask_bands", data=list(names), dtype=h5py.string_dtype())
    return path


def write_tanager(
    path, cube, *, name="surface_reflectance", swath=False, zone=33, epsg=UTM33, masks=None, **attributes
):
    """A cube (bands, rows, columns) on the map, with the structure as Planet's specification prints it."""
    count, height, width = cube.shape
    group = "HDFEOS/SWATHS/HYP" if swath else "HDFEOS/GRIDS/HYP"
    structure = (
        "GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n\tGROUP=GRID_1\n"
        f'\t\tGridName="HYP"\n\t\tBand={count}\n\t\tXDim={width}\n\t\tYDim={height}\n'
        f"\t\tUpperLeftPointMtrs=(570300.00,3555450.00)\n"
        f"\t\tLowerRightMtrs=({570300 + 30 * width:.2f},{3555450 - 30 * height:.2f})\n"
        f"\t\tProjection=HE5_GCTP_UTM\n\t\tZoneCode={zone}\n\t\tSphereCode=12\n\t\tPixelRegistration=HE5_HDFE_CORNER\n"
        "\t\tGROUP=Dimension\n\t\tEND_GROUP=Dimension\n\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\nEND\n"
    )
    given = {
        "wavelengths": np.linspace(376.4, 2499, count),
        "fwhm": np.full(count, 5.5),
        "good_wavelengths": np.ones(count, "uint8"),
        "_FillValue": np.array([-9999.0], "float32"),
    }
    with h5py.File(path, "w") as file:
        stored = file.create_dataset(f"{group}/Data Fields/{name}", data=cube.astype("float32"))
        for key, value in (given | attributes).items():
            if value is not None:
                stored.attrs[key] = value
        for key, mask in (masks or {}).items():
            file[f"{group}/Data Fields/{key}"] = mask.astype("uint32")
        if epsg is not None:
            file[group].attrs["epsg_code"] = epsg
        file["HDFEOS INFORMATION/StructMetadata.0"] = np.bytes_(structure)
    return path


def write_netcdf(
    path, cube, *, dims=("band", "y", "x"), name="reflectance", group="", scales=None, grid=True, **attributes
):
    """As the NetCDF4 library does: dimension scales attached to each axis, CF attributes; `cube` in the order of `dims`."""
    sizes = dict(zip(dims, cube.shape, strict=True))
    coordinates = {
        "x": 500015.0 + 30 * np.arange(sizes.get("x", 0)),
        "y": 4999985.0 - 30 * np.arange(sizes.get("y", 0)),
    }
    units = {"x": "m", "y": "m"}
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = "CF-1.8"
        home = file.require_group(group) if group else file
        stored = home.create_dataset(name, data=cube, chunks=tuple(min(4, n) for n in cube.shape), compression="gzip")
        for axis, (dimension, size) in enumerate(sizes.items()):
            values = (scales or {}).get(dimension, coordinates.get(dimension) if grid else None)
            scale = home.create_dataset(
                dimension, data=np.zeros(size, ">f4") if values is None else np.asarray(values, float)
            )
            unset = f"This is a netCDF dimension but not a netCDF variable.{size:10d}"
            scale.make_scale(unset if values is None else dimension)
            stored.dims[axis].attach_scale(scale)
            if values is not None and dimension in units:
                scale.attrs["units"] = units[dimension]
                scale.attrs["standard_name"] = f"projection_{dimension}_coordinate"
        if grid:
            mapping = home.create_dataset("crs", data=np.int32(0))
            wkt = rasterio.crs.CRS.from_epsg(UTM33).to_wkt()
            mapping.attrs.update({"grid_mapping_name": "transverse_mercator", "crs_wkt": wkt, "spatial_ref": wkt})
            stored.attrs["grid_mapping"] = "crs"
        stored.attrs.update(attributes)
    return path
